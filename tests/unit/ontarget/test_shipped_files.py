"""Properties of the shipped files that hold without running them."""

import ast
import io
import re
from pathlib import Path
from types import ModuleType

import pytest
import yaml
from ruamel.yaml import YAML

from tests.unit.ontarget.bundles import ONTARGET
from worker.app import shipped_files

SCRIPTS = sorted(ONTARGET.rglob("*.py"))

NAUGHTY = [
    *("", "1e3", "0889694", "5146e16", "y", "n", "Yes", "NO", "on", "Off", "true", "null", "~", "NaN", ".inf", "0x1F"),
    *("0o17", "017", "1_000", "12:30:45", "2020-01-01", "=", "<<", "1.", "-", "- x", "a: b", "a #b", "#a", "'", '"'),
    *("it's", " lead", "trail ", "two\nlines", "tab\t", "\\", "%x", "@x", "`x", "!x", "&x", "*x", "{x}", "[x]", "?"),
    *("größer", "\u2028", "\x85", "\x7f", "😀", "\ufeff", "x" * 300, "a " * 200, "v1.0-rc.1/x_y", "e3", "x: |"),
]


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_syntax_of_python_3_8(path: Path) -> None:
    """Python 3.8, the oldest supported version, can parse the scripts."""
    ast.parse(path.read_text(), feature_version=(3, 8))


def test_text_is_read_back(script: ModuleType) -> None:
    """Strings, numbers and booleans are read back unchanged by readers of YAML 1.1 and YAML 1.2."""
    document = {
        "spec": {"values": NAUGHTY, "port": 30001, "on": True, "off": None, "share": 0.5},
        "labels": {text: text for text in NAUGHTY if len(text) < 100},
    }

    text = script.to_yaml(document)

    assert document == yaml.safe_load(text)
    assert document == YAML(typ="safe", pure=True).load(io.StringIO(text))


def test_yaml_is_pleasant(script: ModuleType) -> None:
    """Plain words have no quotes, keys keep their order, and nothing is folded or anchored."""
    shared = {"app": "alpha"}
    document = {"kind": "Service", "apiVersion": "v1", "a": shared, "b": shared, "image": "registry.example/x:1"}

    expected = 'kind: Service\napiVersion: v1\na:\n  app: alpha\nb:\n  app: alpha\nimage: "registry.example/x:1"\n'
    assert expected == script.to_yaml(document)


def test_requirements() -> None:
    """Single models need the same packages as pipelines, without gRPC."""
    single, pipeline = (
        set(re.findall(r"^[A-Za-z]\S*", (ONTARGET / name).read_text(), re.MULTILINE))
        for name in ("requirements-single.txt", "requirements.txt")
    )

    assert {"kubernetes>=21.7", "PyYAML>=5.1"} == single
    assert {"grpcio>=1.48", "grpcio-tools>=1.48"} == pipeline - single


def test_readme_names_real_things(script: ModuleType) -> None:
    """The flags and files that deployment-readme.txt names exist."""
    text = (ONTARGET / "deployment-readme.txt").read_text()
    names = {"deployment-readme.txt", *(path.name for path in ONTARGET.rglob("*") if path.suffix in (".py", ".txt"))}

    assert {"kubernetes-client-script.py", "orchestrator_client.py", "requirements.txt"} <= names
    assert set(re.findall(r"[a-z_-]+\.py", text)) <= names
    for line in re.findall(r"kubernetes-client-script\.py (-.*)", text):
        assert script.parse(line.split())


def test_nothing_else_is_shipped() -> None:
    """The folder holds only known files: everything in it goes into every zip, so a stray file must be noticed."""
    expected = {
        "deployment-readme.txt",
        "kubernetes-client-script.py",
        "orchestrator_client/orchestrator_client.py",
        "protobuf/orchestrator.proto",
        "requirements-single.txt",
        "requirements.txt",
    }
    assert expected == set(shipped_files())
