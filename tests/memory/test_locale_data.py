"""The data of a language that are read without importing dateparser, compared with those that dateparser gives."""

from __future__ import annotations

import subprocess
import sys

import pytest

from mlret.data.languages import cldr_code
from mlret.memory.text.locale_data import locale_data


def test_every_language_has_the_data_of_dateparser() -> None:
    from dateparser.data.languages_info import language_order
    from dateparser.languages.loader import default_loader

    assert len(language_order) > 200
    for language in language_order:
        assert locale_data(language) == default_loader.get_locale(cldr_code(language)).info


def test_a_language_that_dateparser_lacks_is_an_error() -> None:
    with pytest.raises(ValueError, match="Unknown locale"):
        locale_data("zxx")


def test_names_are_read_without_dateparser() -> None:
    script = "import sys; from mlret.memory.text.calendar_names import month_names as m; m('ru'); print(*sys.modules)"
    output = subprocess.check_output([sys.executable, "-c", script], text=True)
    assert "dateparser" not in output.split()
