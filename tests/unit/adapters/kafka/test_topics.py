"""What `check` says of topics that are right, and do not go with the other settings."""

import pytest

from worker.adapters.kafka.topics import Found
from worker.settings import KafkaSettings

KAFKA = KafkaSettings.model_validate(
    {"bootstrap_servers": "kafka:9092", "requests_topic": "r", "status_topic": "s", "settlements_topic": "t"}
    | {"dead_letter_topic": "d"}
)
DAY_MS = 24 * 3600 * 1000
AS_MADE = {"r": 3 * DAY_MS, "s": 7 * DAY_MS, "t": 7 * DAY_MS, "d": 7 * DAY_MS}


@pytest.mark.parametrize(
    ("retention", "partitions", "park_days", "said"),
    [
        ({}, 12, 3, []),
        ({"r": -1, "s": -1, "t": -1, "d": 1}, 12, 100, []),
        ({}, 24, 3, ["DEPLOYER_KAFKA__PARTITIONS is 12, but 'r' has 24 partitions. Set it to 24."]),
        ({"s": 2 * DAY_MS}, 12, 1, ["DEPLOYER_KAFKA__STATUS_TOPIC: 's' is retained for a shorter time than 'r',"]),
        ({"t": 2 * DAY_MS}, 12, 1, ["DEPLOYER_KAFKA__SETTLEMENTS_TOPIC: 't' is retained for a shorter time than 'r',"]),
        ({"r": -1}, 12, 3, ["DEPLOYER_KAFKA__STATUS_TOPIC: ", "DEPLOYER_KAFKA__SETTLEMENTS_TOPIC: "]),
        (
            {},
            12,
            8,
            [
                "DEPLOYER_KAFKA__STATUS_TOPIC: 's' is retained for a shorter time than DEPLOYER_PLAYGROUND__PARK_MAX_S",
                "DEPLOYER_KAFKA__SETTLEMENTS_TOPIC: 't' is retained for a shorter time than DEPLOYER_PLAYGROUND__PARK_",
            ],
        ),
    ],
)
def test_what_does_not_go_together_is_said(
    retention: dict[str, int], partitions: int, park_days: int, said: list[str]
) -> None:
    """Statuses and settlements have to outlive the requests that they are about, and those that are parked."""
    remarks = Found(partitions, AS_MADE | retention).remarks(KAFKA, park_days * DAY_MS / 1000)
    assert said == [remark[: len(start)] for remark, start in zip(remarks, said, strict=True)]
