"""The environment of the worker or the gateway in its pod: the variables, and the files that they name."""

from pathlib import Path

from tests.component.chart.rendering import FULL_NAME, LEAST, RELEASE, merged, mounted_files, nested, worker
from tests.component.chart.values import VALUES, Json, read_values
from tests.component.chart.worker_settings import chart_settings
from worker.settings import PREFIX

FOLDER = "/etc/playground-deployer"


def environment(found: list[Json], folder: Path, component: str = "worker") -> dict[str, str]:
    """Write the mounted files into the folder, each with its source as content: kind/object/key."""
    for name, source in mounted_files(found, component).items():
        (folder / name).write_text(f"{source}\n", encoding="utf-8")
    given = {it["name"]: _value(it) for it in worker(found, component)["env"] if it["name"].startswith(PREFIX)}
    return {name: value.replace(FOLDER, str(folder)) for name, value in given.items()}


def _value(variable: Json) -> str:
    if "value" in variable:
        return str(variable["value"])
    reference = variable["valueFrom"]["secretKeyRef"]
    return f"secret/{reference['name']}/{reference['key']}"


def said_by_values(changes: Json, folder: Path, component: str = "worker") -> Json:
    """Return the settings in the values, by group, without the chart's templates."""
    defaults = merged({}, *(nested(it.path, it.default) for it in read_values(VALUES.read_text(encoding="utf-8"))))
    values = merged(defaults, LEAST, changes)
    settings: Json = {}
    for it in chart_settings():
        value = values["settings"].get(it.group, {}).get(it.key)
        if value is not None and not (value == "" and it.default is None):
            settings.setdefault(it.group, {})[it.name] = value
    settings["kafka"]["create_topics"] = "worker" == values["topics"]["mode"]
    if component == "gateway":
        _be_the_gateway(settings, values)
    _add_secrets(settings, values, component)
    _add_files(settings, values, folder)
    settings.pop("playground" if component == "gateway" else "gateway", None)
    return settings


def _be_the_gateway(settings: Json, values: Json) -> None:
    """Adapt the settings to the gateway, which may have its own Kafka login and creates no topics."""
    settings["kafka"]["create_topics"] = False
    own = values["gateway"]["kafka"]
    if own["existingSecret"]:
        values["secrets"]["kafka"] = {key: own[key] for key in ("existingSecret", "key", "usernameKey")}
        settings["kafka"]["sasl_username"] = own["saslUsername"] or None
    if own["client"]["existingSecret"]:
        values["tls"]["kafka"]["client"] = own["client"]


def _add_secrets(settings: Json, values: Json, component: str) -> None:
    names = {"kafka": "sasl_password", "auth": "secret", "catalog": "password", "artifacts": "password"}
    if component == "gateway":
        names["gateway"] = "session_key"
    for group, name in names.items():
        secret, demo = values["secrets"][group], values["demo"]["secrets"][group]
        if secret["existingSecret"]:
            settings[group][name] = f"secret/{_named(secret['existingSecret'])}/{secret['key']}"
        elif demo:
            settings[group][name] = f"secret/{FULL_NAME}-demo/{group}"
        if secret.get("usernameKey"):
            user = "sasl_username" if group == "kafka" else "username"
            settings[group][user] = f"secret/{secret['existingSecret']}/{secret['usernameKey']}"


def _add_files(settings: Json, values: Json, folder: Path) -> None:
    kafka, playground = values["tls"]["kafka"], values["tls"]["playground"]
    overrides = values["overrides"]
    files = {
        ("kafka", "ssl_ca_file"): _object(kafka["ca"]) and "kafka-ca.crt",
        ("kafka", "ssl_cert_file"): _object(kafka["client"]) and "kafka-client.crt",
        ("kafka", "ssl_key_file"): _object(kafka["client"]) and "kafka-client.key",
        ("playground", "ca_file"): _object(playground["ca"]) and "playground-ca.crt",
        ("bundle", "overrides_file"): (overrides["entries"] or overrides["existingConfigMap"]) and "overrides.yaml",
    }
    for (group, name), file in files.items():
        if file:
            settings.setdefault(group, {})[name] = folder / file


def _object(of: Json) -> str:
    return _named(of["existingSecret"] or of.get("existingConfigMap", ""))


def _named(name: str) -> str:
    return name.replace("{{ .Release.Name }}", RELEASE)
