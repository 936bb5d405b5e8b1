"""What optimizers have in common under all frameworks: Keras' constants, and LARC's rule.

LARC gives each layer a learning rate of its own, after You, Gitman and Ginsburg, arXiv 1708.03888:
the rate of section 4's equation 6 without weight decay, ``LARC_TRUST`` times the weights' norm
over the gradient's, where it is below the optimizer's. Weights that are all zero, as biases
are at first, take the optimizer's. The update is then that of SGD with momentum.
"""

EPSILON = 1e-7
ADAM_BETAS = (0.9, 0.999)
ADADELTA_RHO = 0.95
LARC_TRUST = 0.02
