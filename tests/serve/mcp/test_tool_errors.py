"""What an agent is told of an error that is not its own."""

from __future__ import annotations

import pytest
from pydantic import BaseModel, ValidationError

from mlret.errors import Corrupt, Forbidden, InputError, Locked
from mlret.serve.mcp.tool_errors import problem_of_call, text_of

SECRET = "a text that only its owner may see"
FOLDERS = {"/srv/private/news.index": "news"}


class Arguments(BaseModel):
    names: list[int]


@pytest.mark.parametrize("error", [Corrupt(SECRET), ValueError(SECRET), OSError(SECRET), Locked(SECRET)])
def test_a_failure_of_the_server_tells_nothing_but_the_request(error: Exception) -> None:
    text = text_of(problem_of_call(error, FOLDERS, Arguments), "1234")
    assert SECRET not in text
    assert text.endswith("Request: 1234")


def test_the_folder_of_an_index_is_told_as_its_name() -> None:
    text = text_of(problem_of_call(InputError("/srv/private/news.index is empty"), FOLDERS, Arguments))
    assert text.splitlines() == ["news is empty", "What to do: Correct it and call the tool again."]


def test_a_refusal_says_what_is_needed() -> None:
    assert "needs a role" in text_of(problem_of_call(Forbidden("this needs a role"), FOLDERS, Arguments))


def test_of_many_wrong_arguments_some_are_listed_and_the_others_counted() -> None:
    with pytest.raises(ValidationError) as raised:
        Arguments.model_validate({"names": ["x"] * 30})
    lines = text_of(problem_of_call(raised.value, FOLDERS, Arguments)).splitlines()
    assert lines[0].startswith("/names/0: ")
    assert lines[10:12] == ["and 20 more errors", "Argument: /names/0"]
    assert len(lines) == 13
