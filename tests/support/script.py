"""The bundle's script as a module; its file name cannot be written in an import statement."""

import importlib.util
import sys
from functools import cache
from types import ModuleType

from tests.support.paths import ROOT

PATH = ROOT / "worker" / "ontarget" / "kubernetes-client-script.py"


@cache
def load_script() -> ModuleType:
    """Return kubernetes-client-script.py as a module."""
    spec = importlib.util.spec_from_file_location("kubernetes_client_script", PATH)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look up their module there
    spec.loader.exec_module(module)
    return module
