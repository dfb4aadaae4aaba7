"""The script of the bundle as a module; no import statement can say its name."""

import importlib.util
import sys
from functools import cache
from types import ModuleType

from tests.support.paths import ROOT

PATH = ROOT / "worker" / "ontarget" / "kubernetes-client-script.py"


@cache
def load_script() -> ModuleType:
    """kubernetes-client-script.py."""
    spec = importlib.util.spec_from_file_location("kubernetes_client_script", PATH)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module
