/* A program that prints its rate, into a buffer that its library flushes to a terminal alone. */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

int main(int count, char **arguments) {
    double devices = count > 1 ? atof(arguments[1]) : 1;
    for (int step = 0; step < 8; step++) {
        usleep(100000);
        printf("step %d: throughput: %.1f samples/s\n", 10 * step, 100 * devices);
    }
    return 0;
}
