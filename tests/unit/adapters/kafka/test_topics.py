"""The remarks of `check` on topics that are valid but do not fit other settings."""

import pytest

from worker.adapters.kafka.topics import Found
from worker.settings import KafkaSettings

KAFKA = KafkaSettings.model_validate(
    {"bootstrap_servers": "kafka:9092", "requests_topic": "r", "status_topic": "s", "settlements_topic": "t"}
    | {"dead_letter_topic": "d"}
)
DAY_MS = 24 * 3600 * 1000
AS_MADE = {"r": 3 * DAY_MS, "s": 7 * DAY_MS, "t": 7 * DAY_MS, "d": 7 * DAY_MS}

REQUESTS, STATUS, SETTLEMENTS = (
    f"DEPLOYER_KAFKA__{name}_TOPIC: '{topic}'"
    for name, topic in {"REQUESTS": "r", "STATUS": "s", "SETTLEMENTS": "t"}.items()
)
PARK = "DEPLOYER_PLAYGROUND__PARK_MAX_SECONDS"
FORGOTTEN = "so what became of a request may be forgotten before it is needed."
RECORD_GONE = "so a parked request may be gone before it can be tried again."
SET = {days: f" Set retention.ms={days * DAY_MS} or longer." for days in (3, 8)}


@pytest.mark.parametrize(
    ("retention", "partitions", "park_days", "said"),
    [
        ({}, 12, 3, []),
        ({"r": -1, "s": -1, "t": -1, "d": 1}, 12, 100, []),
        ({}, 24, 3, ["DEPLOYER_KAFKA__PARTITIONS is 12, but 'r' has 24 partitions. Set it to 24."]),
        (
            {"s": 2 * DAY_MS},
            12,
            1,
            [f"{STATUS} is retained for 172800 s, less than 'r' (259200 s), {FORGOTTEN}{SET[3]}"],
        ),
        (
            {"t": 2 * DAY_MS},
            12,
            1,
            [f"{SETTLEMENTS} is retained for 172800 s, less than 'r' (259200 s), {FORGOTTEN}{SET[3]}"],
        ),
        (
            {"r": -1},
            12,
            3,
            [
                f"{STATUS} is retained for 604800 s, less than 'r' (for ever), {FORGOTTEN} Set retention.ms=-1.",
                f"{SETTLEMENTS} is retained for 604800 s, less than 'r' (for ever), {FORGOTTEN} Set retention.ms=-1.",
            ],
        ),
        (
            {"r": 3 * DAY_MS - 1},
            12,
            3,
            [f"{REQUESTS} is retained for 259199.999 s, less than {PARK} (259200 s), {RECORD_GONE}{SET[3]}"],
        ),
        (
            {},
            12,
            8,
            [
                f"{REQUESTS} is retained for 259200 s, less than {PARK} (691200 s), {RECORD_GONE}{SET[8]}",
                f"{STATUS} is retained for 604800 s, less than {PARK} (691200 s), {FORGOTTEN}{SET[8]}",
                f"{SETTLEMENTS} is retained for 604800 s, less than {PARK} (691200 s), {FORGOTTEN}{SET[8]}",
            ],
        ),
    ],
)
def test_what_does_not_go_together_is_said(
    retention: dict[str, int], partitions: int, park_days: int, said: list[str]
) -> None:
    """Statuses and settlements must outlive their requests, and all three topics must outlive parked requests.

    A remark has both values, and the value to set.
    """
    remarks = Found(partitions, AS_MADE | retention).remarks(KAFKA, park_days * DAY_MS / 1000)
    assert said == remarks
