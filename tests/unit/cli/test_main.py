"""The command line: what it accepts, and how it reports errors."""

import json
import subprocess
import sys

import pytest
from aiokafka.errors import (
    KafkaConnectionError,
    KafkaError,
    TopicAuthorizationFailedError,
    UnknownTopicOrPartitionError,
)

from tests.support.first_line import DRAWS, TALKS, WORKS, first_line
from tests.support.paths import ROOT
from worker.adapters.kafka.diagnosis import KafkaUnreachable
from worker.cli import main
from worker.cli.error_messages import error_message
from worker.errors import CommandError, ConfigurationError, NotFound, StatusNotPublished
from worker.sandbox.environment import worker_environment

COMMANDS = ("run", "demo", "submit", "watch", "status", "bundle", "check", "resolve", "dead-letter", "sandbox")
IDS = ["9b8d4f52-3f0c-4c1e-8f2b-6a5d7c1e0b34", "c41e7a90-52d6-4e8b-b7f3-1d9a0c6e2f58"]


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    """`--help` succeeds and lists every command."""
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert 0 == ended.value.code
    shown = capsys.readouterr().out
    assert [] == [name for name in COMMANDS if f"\n    {name}" not in shown]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    """`COMMAND --help` explains the command."""
    with pytest.raises(SystemExit) as ended:
        main([command, "--help"])
    assert 0 == ended.value.code
    assert f"playground-deployer {command}" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [["--help"], ["submit", "--help"], ["dead-letter", "list", "--help"]])
def test_help_loads_nothing_heavy(arguments: list[str]) -> None:
    """Help is shown at once, without an import of pydantic or a Kafka client."""
    shown = first_line(arguments, {})
    assert (True, []) == (shown.text.startswith("usage: "), shown.imported((*DRAWS, *WORKS, *TALKS)))


@pytest.mark.parametrize(
    ("arguments", "unneeded"),
    [
        (["status", "r-1"], (*DRAWS, *WORKS)),
        (["resolve", "r-1", "--outcome", "failed", "--by", "ada"], (*DRAWS, *WORKS)),
        (["dead-letter", "list"], (*DRAWS, *WORKS)),
        (["dead-letter", "replay", "--all"], (*DRAWS, *WORKS)),
        (["submit", *IDS], (*DRAWS, *WORKS)),
        (["check"], (*DRAWS, *WORKS)),
        (["watch"], WORKS),
        (["run"], DRAWS),
        (["gateway"], (*DRAWS, "kubernetes", "google.protobuf", "lark", "nh3", "requests")),
    ],
)
def test_a_command_loads_only_what_it_needs(arguments: list[str], unneeded: tuple[str, ...]) -> None:
    """Missing settings are reported before anything is imported that the command does not need."""
    shown = first_line(arguments, {})
    assert (True, []) == ("DEPLOYER_" in shown.text, shown.imported(unneeded))


def test_check_says_that_the_settings_are_complete_before_it_loads_what_it_asks_with() -> None:
    """`check` reports complete settings before it imports the clients of the dependencies, which takes a while."""
    environment = worker_environment("127.0.0.1:1", "http://127.0.0.1:1", "http://127.0.0.1:1", "/deploy_solution", "x")
    shown = first_line(["check"], environment)
    assert ("ok      settings: complete", []) == (shown.text, shown.imported((*DRAWS, *WORKS)))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "COMMAND"),
        (["deploy"], "invalid choice: 'deploy'"),
        (["stauts"], "Did you mean status?"),
        (["stauts (choose from 'stautz')"], "invalid choice"),
        (["dead-letter", "lst"], "Did you mean list?"),
        (["watch", "--from-begining"], "unrecognized arguments: --from-begining. Did you mean --from-beginning?"),
        (["sandbox", "graphene", "--listn", "127.0.0.1:1"], "unrecognized arguments: --listn. Did you mean --listen?"),
        (["submit", "--tokenfile", "x", *IDS], "unrecognized arguments: --tokenfile. Did you mean --token-file?"),
        (["submit", "--request_id=x", IDS[0]], "unrecognized arguments: --request_id. Did you mean --request-id?"),
        (["resolve", "r-1", "--outcom", "failed"], "unrecognized arguments: --outcom. Did you mean --outcome?"),
        (["bundle", *IDS, "--ouput", "a.zip"], "unrecognized arguments: --ouput. Did you mean --output?"),
        (["dead-letter", "show", "--jsn"], "unrecognized arguments: --jsn"),
        (["--verison"], "unrecognized arguments: --verison. Did you mean --version?"),
        (["stauts", "--opne"], "Did you mean status?"),
        (["resolve", "r-1", "--outcome", "deploy"], "Did you mean deployed?"),
        (["submit", IDS[0]], "revisionId"),
        (["submit", "sudoku", IDS[1]], "'sudoku' is not a UUID"),
        (["submit", *IDS, "--token", "x"], "unrecognized arguments: --token"),
        (["submit", *IDS, "--token-stdin", "--token-file", "x"], "not allowed with"),
        (["submit", *IDS, "--request-id", "a b"], "use 1 to 128 letters"),
        (["submit", *IDS, "--request-id", "a\n"], "use 1 to 128 letters"),
        (["submit", *IDS, "--wait", "--timeout", "soon"], "'soon' is not a number of seconds"),
        (["submit", *IDS, "--wait", "--timeout", "nan"], "'nan' is not a number of seconds"),
        (["submit", *IDS, "--wait", "--timeout", "0"], "'0' is not a number of seconds"),
        (["demo", "--kafka", "localhost"], "'localhost' is not HOST:PORT"),
        (["demo", "--kafka", "localhost:kafka"], "'localhost:kafka' is not HOST:PORT"),
        (["bundle", *IDS], "--output --dir"),
        (["bundle", *IDS, "--output", "a.zip", "--dir", "a"], "not allowed with"),
        (["watch", "now"], "unrecognized arguments: now"),
        (["resolve", "r-1"], "--outcome"),
        (["resolve", "r-1", "--outcome", "gone"], "invalid choice: 'gone'"),
        (["resolve", "r 1", "--outcome", "failed"], "use 1 to 128 letters"),
        (["dead-letter"], "ACTION"),
        (["dead-letter", "show"], "PARTITION:OFFSET"),
        (["dead-letter", "show", "3"], "'3' is not PARTITION:OFFSET"),
        (["dead-letter", "list", "--offset", "3:-1"], "'3:-1' is not PARTITION:OFFSET"),
        (["dead-letter", "list", "--since", "yesterday"], "'yesterday' is not a time"),
        (["dead-letter", "list", "--since", "0001-01-01"], "'0001-01-01' is not a time"),
        (["dead-letter", "replay", "--rate", "0"], "'0' is not a number above 0"),
        (["sandbox"], "PART"),
        (["sandbox", "graphene", "--listen", "localhost:8000"], "'localhost:8000' is not ADDRESS:PORT"),
        (["sandbox", "graphene", "--listen", "127.0.0.1:65536"], "'127.0.0.1:65536' is not ADDRESS:PORT"),
        (["sandbox", "graphene", "--listen", "127.0.0.1"], "'127.0.0.1' is not ADDRESS:PORT"),
    ],
)
def test_wrong_usage_is_2(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A mistake on the command line is reported, with exit code 2."""
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert 2 == ended.value.code
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["status"], "status: give either the id of a request, or --open"),
        (["status", "--open", "r-1"], "status: give either the id of a request, or --open"),
        (["resolve", "r-1", "--outcome", "deployed", "--deployment-id", "a"], "--deployment-url: give both"),
        (
            ["resolve", "r-1", "--outcome", "retry", "--deployment-id", "a", "--deployment-url", "https://x"],
            "Leave them",
        ),
        (["resolve", "r-1", "--outcome", "failed", "--reason", " "], "--reason: the text has 0 characters"),
        (["dead-letter", "replay"], "dead-letter replay: no dead letter is selected"),
    ],
)
def test_arguments_that_do_not_fit_together_are_2(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Mistakes that argparse cannot find have exit code 2 as well, as docs/commands.md promises."""
    assert 2 == main(arguments)
    assert said in capsys.readouterr().err


def test_the_deployment_of_a_settlement_needs_both_parts(capsys: pytest.CaptureFixture[str]) -> None:
    """The help of each of the two options refers to the other."""
    with pytest.raises(SystemExit):
        main(["resolve", "--help"])
    shown = " ".join(capsys.readouterr().out.split())
    assert "--deployment-id ID with deployed and --deployment-url: " in shown
    assert "--deployment-url URL with --deployment-id: " in shown


@pytest.mark.parametrize(
    ("arguments", "variable"),
    [
        (["watch"], "DEPLOYER_KAFKA__BOOTSTRAP_SERVERS"),
        (["status", "r-1"], "DEPLOYER_KAFKA__BOOTSTRAP_SERVERS"),
        (["status", "--open"], "DEPLOYER_KAFKA__BOOTSTRAP_SERVERS"),
        (["resolve", "r-1", "--outcome", "failed"], "DEPLOYER_KAFKA__BOOTSTRAP_SERVERS"),
        (["dead-letter", "list"], "DEPLOYER_KAFKA__BOOTSTRAP_SERVERS"),
        (["submit", *IDS], "DEPLOYER_KAFKA__BOOTSTRAP_SERVERS"),
        (["bundle", *IDS, "--output", "a.zip"], "DEPLOYER_CATALOG__URL"),
    ],
)
def test_a_missing_setting_is_1(arguments: list[str], variable: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A missing setting is reported by its variable, in a sentence without a traceback, with exit code 1."""
    assert 1 == main(arguments)
    said = capsys.readouterr().err
    assert said.startswith("playground-deployer: ")
    assert variable in said
    assert "Traceback" not in said


@pytest.mark.parametrize("command", ["run", "gateway"])
def test_why_a_process_cannot_start_is_in_its_log(
    command: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each problem at the start is a line of the log, in the log's format: JSON unless the settings say otherwise."""
    assert 1 == main([command])
    said = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert {("the process cannot continue", "critical")} == {(it["event"], it["level"]) for it in said}
    assert {"DEPLOYER_KAFKA__BOOTSTRAP_SERVERS", "DEPLOYER_CATALOG__URL"} <= {
        it["problem"].split(":")[0] for it in said
    }
    monkeypatch.setenv("DEPLOYER_RUNTIME__LOG_FORMAT", "console")
    assert 1 == main([command])
    assert "[critical ] the process cannot continue" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (CommandError("It is so."), "It is so."),
        (ConfigurationError("DEPLOYER_X__Y: wrong"), "DEPLOYER_X__Y: wrong"),
        (StatusNotPublished("status 2 was not published"), "status 2 was not published"),
        (NotFound("solution-not-found", "There is none."), "There is none. [solution-not-found]"),
        (KafkaConnectionError("canary"), "Kafka cannot be reached. Check DEPLOYER_KAFKA__BOOTSTRAP_SERVERS and the"),
        (
            KafkaUnreachable("kafka:9092: connection refused"),
            "Kafka cannot be reached: kafka:9092: connection refused. Ch",
        ),
        (UnknownTopicOrPartitionError(), "DEPLOYER_KAFKA__CREATE_TOPICS=true"),
        (
            TopicAuthorizationFailedError("x"),
            "Kafka refused: TopicAuthorizationFailed (Returned by the broker when the ",
        ),
        (KafkaError(), "Kafka refused: Kafka."),
        (ModuleNotFoundError(name="jgo"), "Install playground-deployer[demo]."),
        (FileNotFoundError(2, "No such file or directory", "token"), "token: No such file or directory."),
        (ModuleNotFoundError(name="worker.nothing"), None),
        (OSError("of another kind"), None),
        (ValueError("ours"), None),
    ],
)
def test_errors_become_sentences(error: Exception, sentence: str | None) -> None:
    """Expected errors become sentences, and unexpected errors keep their traceback."""
    said = error_message(error)
    assert (sentence is None) == (said is None)
    assert (sentence or "") in (said or "")


def test_python_dash_m_is_the_same() -> None:
    """`python -m worker` is the command under its own name."""
    ended = subprocess.run([sys.executable, "-m", "worker"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (2, True) == (ended.returncode, ended.stderr.startswith("usage: playground-deployer"))
