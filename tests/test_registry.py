"""A collection that fills itself from the modules of a package."""

import sys

import pytest

from hpcbench.errors import ConfigError
from hpcbench.registry import Registry


def test_a_module_that_does_not_load_is_named(tmp_path, monkeypatch):
    package = tmp_path / "shapes_of_a_user"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "square.py").write_text("import a_module_that_is_not_there\n")
    monkeypatch.syspath_prepend(tmp_path)
    registry: Registry[int] = Registry("shape", "shapes_of_a_user")
    with pytest.raises(ConfigError, match=r"shapes_of_a_user/square\.py does not load: No module"):
        registry.names()
    (package / "square.py").write_text("x = 1\n")
    sys.modules.pop("shapes_of_a_user.square", None)
    assert registry.names() == []


def test_a_name_is_given_once():
    registry: Registry[int] = Registry("shape", "hpcbench")
    registry.add("round", 1)
    with pytest.raises(ValueError, match="shape 'round' is registered twice"):
        registry.add("round", 2)
