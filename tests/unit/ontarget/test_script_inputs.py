"""For any input the script fails only with messages that quote no file's content, and with exit code 1."""

import copy
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.unit.ontarget.bundles import SCRIPT, deployment, pipeline, service, single_model, write_yaml
from tests.unit.ontarget.kube_api import TOKEN, KubeApi
from tests.unit.ontarget.running import PYTHONS, Result, process

Command = Callable[..., Result]

SECRET = "s3cret-value"
LAUGHS = "a: &a [x, x]\n" + "".join(
    f"{new}: &{new} [{', '.join([f'*{old}'] * 9)}]\n" for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)
LONG = "It has a number of more than 100 characters."
UNSAID = "It holds what JSON cannot say"

# content of a manifest, and its error message
YAMLS = {
    "aliases of aliases": (LAUGHS, "It has an alias"),
    "an alias": ("a: &a s3cret-value\nb: *a\n", "It has an alias"),
    "an alias of itself": ("&a [*a]", "It has an alias"),
    "an alias that is merged": ("a: &a {b: s3cret-value}\nc: {<<: *a}", "It has an alias"),
    "an alias of nothing": ("a: *s3cret-value", "It has an alias"),
    "an alias as a key": ("? &a x\n: 1\n? *a\n: 2\n", "It has an alias"),
    "deep list": ("[" * 33 + "]" * 33, "It is more than 32 levels deep"),
    "deep object": ("{a: " * 40 + "1" + "}" * 40, "It is more than 32 levels deep"),
    "deep list on one line": ("- " * 1000 + "x", "It is more than 32 levels deep"),
    "deep keys": ("? " * 1000 + "x", "It is more than 32 levels deep"),
    "never closed": ("[" * 200_000, "It is more than 32 levels deep"),
    "deep on many lines": ("[\n" * 100_000, "It is more than 32 levels deep"),
    "a line that is wrong": ("password: s3cret-value: s3cret-value", "Its YAML is wrong at line 1, column 23."),
    "a character that is wrong": ("a: b\nc: @s3cret-value", "Its YAML is wrong at line 2, column 4."),
    "a tag of nobody": ("a: !s3cret-value b", "Its YAML is wrong at line 1, column 4."),
    "a tag of Python": ("!!python/object/apply:os.system [s3cret-value]", "Its YAML is wrong at line 1, column 1."),
    "a quote that does not end": ("a: 's3cret-value", "Its YAML is wrong at line 1, column 17."),
    "a key that is a list": ("? [s3cret-value]\n: 1", "Its YAML is wrong at line 1, column 3."),
    "a directive": ("%YAML 9.9\n--- s3cret-value", "Its YAML is wrong at line 1, column 1."),
    "a control character": ("a: s3cret-value\x07", UNSAID),
    "no UTF-8": (b"a: s3cret-value\xff", "It is not UTF-8."),
    "a date": ("a: 2020-01-01", UNSAID),
    "no day of a year": ("a: 2020-13-45", UNSAID),
    "no time": ("a: !!timestamp s3cret-value", UNSAID),
    "no number": ("a: !!int s3cret-value", UNSAID),
    "an empty number": ("a: !!int ''", UNSAID),
    "no share": ("a: !!float s3cret-value", UNSAID),
    "neither true nor false": ("a: !!bool s3cret-value", UNSAID),
    "bytes": ("a: !!binary czNjcmV0", UNSAID),
    "a set": ("a: !!set {s3cret-value}", UNSAID),
    "infinity": ("a: .inf", UNSAID),
    "a number in base 60": ("a: 1" + ":00" * 80_000, LONG),
    "a share in base 60": ("a: 1" + ":00" * 80_000 + ".0", LONG),
    "a number in base 60 that is negative": ("a: -1" + ":59" * 80_000, LONG),
    "a number by its tag": ("a: !!int '1" + ":00" * 80_000 + "'", LONG),
    "a share by its tag": ('a: !!float "1' + ":00" * 80_000 + '"', LONG),
    "a long number": ("a: 1" + "0" * 200_000, LONG),
    "a long number in base 16": ("a: 0x" + "f" * 200_000, LONG),
    "a long number in base 8": ("a: 0" + "7" * 200_000, LONG),
    "a long number in base 2": ("a: 0b" + "1" * 200_000, LONG),
    "a long share": ("a: 1." + "0" * 200_000, LONG),
    "a number that is a key": ("? 1" + ":00" * 80_000 + "\n: 1", LONG),
    "a key that is bytes": ("!!binary czNjcmV0: 1", UNSAID),
}


@pytest.mark.parametrize(("text", "sentence"), YAMLS.values(), ids=YAMLS)
def test_yaml(text: str | bytes, sentence: str, command: Command, tmp_path: Path) -> None:
    """YAML that is invalid or exceeds a limit is rejected with the file's name and the position, and never quoted."""
    bundle = pipeline(tmp_path / "bundle")
    (bundle / "deployments" / "pvc.yaml").write_bytes(text if isinstance(text, bytes) else text.encode())

    done = command(bundle, "--dry-run")

    assert 1 == done.code
    assert done.err.startswith(f"error: pvc.yaml cannot be read: {sentence}")
    assert 1 == len(done.err.splitlines())
    assert "s3cret" not in done.err


def test_long_numbers_take_no_time(command: Command, tmp_path: Path) -> None:
    """Long numbers are rejected before they are parsed; texts of that length are accepted."""
    bundle = pipeline(tmp_path / "bundle")
    path = bundle / "deployments" / "alpha_service.yaml"
    text = path.read_text().rstrip()[:-1]
    path.write_text(text + ', "extra": "1' + ":00" * 60_000 + '", "number": ' + "1" * 100 + "}")
    assert (0, "") == (command(bundle, "--dry-run").code, command(bundle, "--dry-run").err)
    path.write_text(text + ', "number": ' + "1" * 101 + "}")
    assert f"error: alpha_service.yaml cannot be read: {LONG}\n" == command(bundle, "--dry-run").err


def test_yaml_within_the_bounds(command: Command, tmp_path: Path) -> None:
    """A handwritten manifest with 32 levels and an unused anchor is accepted."""
    bundle = single_model(tmp_path / "bundle")
    path = bundle / "deployments" / "service.yaml"
    path.write_text(f"{path.read_text().rstrip()[:-1]}, extra: &anchor {'[' * 31}{']' * 31}}}")

    assert (0, "") == (command(bundle, "--dry-run").code, command(bundle, "--dry-run").err)


DEEP = "[" * 100_000

# other files, their content, and their error message
JSONS = {
    "deep blueprint": ("bundle/blueprint.json", DEEP, "is not JSON"),
    "deep dockerinfo": ("bundle/dockerinfo.json", DEEP, "is not JSON"),
    "empty dockerinfo": ("bundle/dockerinfo.json", "{}", "container_name of entry 1"),
    "dockerinfo of a secret": (
        "bundle/dockerinfo.json",
        '{"docker_info_list": [{"container_name": "s3cret-value"}]}',
        "container_name of entry 1",
    ),
    "deep config": ("config.json", DEEP, "is not JSON"),
    "long number": ("config.json", '{"hostname": ' + "9" * 5000 + "}", "config.json"),
    "a pattern without bound": (
        "config.json",
        '{"environment_variables": [{"docker_image_pattern": "s{99999999999999}", "name": "s3cret", "value": ""}]}',
        "docker_image_pattern (a regular expression)",
    ),
    "a deep pattern": (
        "config.json",
        json.dumps({"environment_variables": [{"docker_image_pattern": "(" * 5000, "name": SECRET, "value": ""}]}),
        "docker_image_pattern (a regular expression)",
    ),
}


@pytest.mark.parametrize(("file", "text", "sentence"), JSONS.values(), ids=JSONS)
def test_json(file: str, text: str, sentence: str, command: Command, tmp_path: Path) -> None:
    """Invalid JSON is rejected with the file's name, and never quoted."""
    bundle = pipeline(tmp_path / "bundle")
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / file).write_text(text)

    done = command(bundle, "--dry-run", "-cf", tmp_path / "config.json")

    assert 1 == done.code
    assert sentence in done.err
    assert "s3cret" not in done.err
    assert "Please report" not in done.err


def _places(document: Any, *path: Any) -> Iterator[tuple[Any, ...]]:
    yield path
    inner = (
        document.items() if isinstance(document, dict) else enumerate(document if isinstance(document, list) else [])
    )
    for key, value in inner:
        yield from _places(value, *path, key)


def _spoilt(document: Any, path: tuple[Any, ...], value: Any) -> Any:
    if not path:
        return value
    whole = place = copy.deepcopy(document)
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return whole


def _deployment() -> Any:
    document = deployment("alpha")
    document["spec"]["template"]["metadata"]["labels"] = {"app": "alpha"}
    pod = document["spec"]["template"]["spec"]
    pod["containers"][0]["env"] = [{"name": "A", "value": "B"}]
    pod["initContainers"] = [{"name": "first", "image": "registry.example/first", "env": [{"name": "A", "value": "B"}]}]
    return document


DOCKERINFO = {"docker_info_list": [{"container_name": "alpha", "ip_address": "alpha", "port": "8556"}]}
CONFIG = {
    "hostname": "example.org",
    "ingress_class_name": "nginx",
    "letsencrypt_ingress": True,
    "environment_variables": [{"docker_image_pattern": ".", "name": "A", "value": "B"}],
}
DOCUMENTS = {
    "bundle/deployments/service.yaml": service("alpha"),
    "bundle/deployments/deployment.yaml": _deployment(),
    "bundle/blueprint.json": {"name": "x", "nodes": []},
    "bundle/dockerinfo.json": DOCKERINFO,
    "config.json": CONFIG,
    "docker.json": {"auths": {}},
}
ODD = [None, 5, "", "\ud800", [], {}, [None], {"x": 1}, {"0": {"name": "alpha"}}]


@pytest.mark.parametrize("file", DOCUMENTS)
def test_odd_values(file: str, command: Command, secret: list[object], tmp_path: Path) -> None:
    """A value of another type, at any position of any file, is accepted or rejected with an expected message."""
    bundle = single_model(tmp_path / "bundle", "alpha")
    (bundle / "deployments" / "deployment.yaml").write_text(json.dumps(_deployment()))
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    seen = set()

    for path in _places(DOCUMENTS[file]):
        for value in ODD:
            (tmp_path / file).write_text(json.dumps(_spoilt(DOCUMENTS[file], path, value)))
            done = command(bundle, *secret, "-cf", tmp_path / "config.json", "--dry-run")
            said = done.err.splitlines()
            assert (done.code, True) == (int(bool(said)), all(it.startswith("error: ") for it in said)), (path, value)
            assert "Please report" not in done.err, (path, value)
            seen.add(done.code)

    assert 1 in seen


def test_odd_kubeconfigs(command: Command, kubeconfig: Path, tmp_path: Path) -> None:
    """An unusable kubeconfig is rejected with a message, and never quoted."""
    good, bundle = kubeconfig.read_text(), single_model(tmp_path / "bundle")
    texts = [
        "",
        "[]",
        "5",
        "s3cret-value",
        "a: s3cret-value: b",
        "{users: s3cret-value}",
        "\x00",
        DEEP,
        "users: !s3cret x",
    ]
    texts += [good.replace(key, "s3cret") for key in ("clusters", "contexts", "users", "current-context")]
    texts += [good.replace('"here"', '{"s3cret": 1}', 1), good.replace(f'"{TOKEN}"', '{"s3cret": 1}')]
    for text in texts:
        kubeconfig.write_text(text)

        done = command(bundle)

        assert 1 == done.code, text[:99]
        assert done.err.startswith("error: "), text[:99]
        assert "s3cret" not in done.err, text[:99]


@pytest.mark.parametrize("answer", ["[]", "5", "null", '"x"', "", "{", DEEP, "{}", '{"items": 5}', '{"items": [5]}'])
def test_odd_answers(answer: str, command: Command, api: KubeApi, tmp_path: Path) -> None:
    """For any answer in place of the cluster's, the run completes or fails with a message."""
    bundle = single_model(tmp_path / "bundle")
    api.portal = answer or " "

    done = command(bundle, "--delete")

    assert bool(done.code) == bool(done.err)
    assert (answer.startswith("{") and answer != "{") or "is no Kubernetes API." in done.err
    assert all(it.startswith("error: ") for it in done.err.splitlines())


@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize(
    "arguments",
    [
        ["-n", "\udcff"],
        ["-n", "\x1b[2J\n"],
        ["-bp", "nowhere"],
        ["-bp", "/dev/null"],
        ["-cf", ""],
        ["-cf", "/dev/zero"],
        ["-cf", "~nobody-here/x"],
        ["-sn", "s", "-ps", "~nobody-here/x"],
        ["-sn", "\udcff", "-ps", "nowhere"],
        ["-cf", "x" * 5000],
    ],
)
def test_odd_arguments(arguments: list[str], python: str, tmp_path: Path) -> None:
    """Arguments that name nothing usable exit with 1 and messages."""
    done = process(single_model(tmp_path / "bundle"), "-n", "play", *arguments, "--dry-run", python=python)

    assert 1 == done.code
    assert done.err
    assert all(line.startswith("error: ") for line in done.err.splitlines())
    assert "Please report" not in done.err


def test_names_that_cannot_be_shown(tmp_path: Path) -> None:
    """A file name that the terminal cannot encode fails no run."""
    bundle = single_model(tmp_path / "bundle")
    (bundle / "deployments" / "service.yaml").rename(bundle / "deployments" / "größer\udcff.yaml")

    done = process(bundle, "-n", "play", "--dry-run", PYTHONIOENCODING="ascii")

    assert (0, "") == (done.code, done.err)


CONTROLS = "\x1b[2J\x07\r\n\x9b\u2028\u202e\x7f"


@pytest.mark.parametrize("text", ["{", "kind: Pod", "a: 1"])
def test_control_characters_of_a_name(text: str, tmp_path: Path) -> None:
    """Control characters in a file name are escaped on stderr, on one line, so that no terminal obeys them."""
    bundle = single_model(tmp_path / "bundle")
    (bundle / "deployments" / f"a{CONTROLS}error: b.yaml").write_text(text)

    done = process(bundle, "-n", "play", "--dry-run")

    assert 1 == done.code
    assert all(it.isprintable() and it.startswith("error: ") for it in done.err.split("\n")[:-1])
    assert "error: a\\x1b[2J\\x07\\r\\n\\x9b\\u2028\\u202e\\x7ferror: b.yaml " in done.err


def test_control_characters_of_names_everywhere(tmp_path: Path) -> None:
    """Control characters are also escaped in the names of links and of the folder itself, and on stdout."""
    bundle = single_model(tmp_path / f"bundle{CONTROLS}")
    (bundle / "deployments" / "service.yaml").rename(bundle / "deployments" / f"s{CONTROLS}.yaml")
    shown = process(bundle, "-n", "play", "--dry-run")
    assert (0, True) == (shown.code, all(it.isprintable() for it in shown.out.split("\n")))
    (bundle / "deployments" / f"l{CONTROLS}").symlink_to("x")
    linked = process(bundle, "-n", "play", "--dry-run")
    missing = process(bundle, "-n", "play", "-cf", f"no{CONTROLS}", "--dry-run")
    for done in (linked, missing):
        assert (1, True) == (done.code, all(it.isprintable() for it in done.err.split("\n")))


def test_what_nobody_foresaw(command: Command, monkeypatch: pytest.MonkeyPatch, script: Any, tmp_path: Path) -> None:
    """An unexpected exception is reported by type and line, without its text, which may be a secret."""

    def broken(*_: Any) -> None:
        raise ZeroDivisionError(SECRET)

    monkeypatch.setattr(script, "show_plan", broken)

    done = command(single_model(tmp_path / "bundle"), "--dry-run")

    assert 1 == done.code
    assert "(ZeroDivisionError in line " in done.err
    assert SECRET not in done.err
    assert 1 == len(done.err.splitlines())


@pytest.mark.parametrize(
    ("options", "mode", "sentence"),
    [
        ([], ["--dry-run"], "A file: Broken pipe."),
        (["-u"], ["--dry-run"], "A file: Broken pipe."),
        ([], [], "No access to a cluster, neither by /nowhere nor as a pod"),
    ],
    ids=["at the end", "at once", "after another failure"],
)
def test_nobody_reads_any_more(
    options: list[str], mode: list[str], sentence: str, secret: list[object], tmp_path: Path
) -> None:
    """A closed output pipe is reported like any other failure, and hides no other failure."""
    bundle = single_model(tmp_path / "bundle")
    reading, writing = os.pipe()
    os.close(reading)
    noted = map(str, [*secret, "-sn", "other"])  # so that something is printed before the cluster is called

    done = subprocess.run(
        [sys.executable, *options, str(bundle / SCRIPT), "-n", "play", *noted, *mode],
        stdout=writing,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "KUBECONFIG": "/nowhere", "PYTHONUNBUFFERED": ""},
        check=False,
    )
    os.close(writing)

    assert 1 == done.returncode
    assert done.stderr.startswith(f"error: {sentence}")
    assert 1 == len(done.stderr.splitlines())


def test_two_containers(command: Command, config: Callable[..., list[object]], tmp_path: Path) -> None:
    """Each container needs an image and each variable a name, because the variables of config.json match by them."""
    bundle, document = single_model(tmp_path / "bundle"), deployment("entity-recogniser")
    document["spec"]["template"]["spec"]["containers"].append({"name": "beside"})
    document["spec"]["template"]["spec"]["initContainers"] = [{"image": "x", "env": [{"value": SECRET}]}]
    write_yaml(bundle / "deployments" / "deployment.yaml", document)

    done = command(bundle, "--dry-run", *config(environment_variables=CONFIG["environment_variables"]))

    sentence = "error: deployment.yaml must have {} that have an image, and a name for each variable."
    assert [sentence.format(key) for key in ("containers", "initContainers")] == done.err.splitlines()
