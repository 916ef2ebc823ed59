"""Some hundred hostile messages; ten thousand: `python -m tests.serving.fuzz 10000`."""

import json
import logging

import pytest
from websockets.exceptions import ConnectionClosed

from tests.serving.fuzz import attack
from tests.serving.talk import hear, tell


def test_hostile_messages_end_with_an_error_and_nothing_else(server, file, caplog):
    with caplog.at_level(logging.ERROR):
        answers = attack(server, file, 400)
    assert answers["error"] > 250
    assert set(answers) <= {"error", "ready", "done", "saved"}
    assert not [record for record in caplog.records if record.name.startswith("egowm")]
    assert server.ask("/v1/model")[0] == 200


@pytest.mark.long
def test_a_message_that_is_too_long_ends_its_connection_alone(server, file):
    with server.walk() as socket:
        data = json.dumps({"type": "step", "actions": "x" * (25 << 20)})
        with pytest.raises(ConnectionClosed, match=r"1009|no close"):  # a reset may be faster
            socket.send(data), socket.recv(timeout=30)
    with server.walk() as again:
        tell(again, "begin", picture=file)
        assert hear(again)[0]["type"] == "ready"
