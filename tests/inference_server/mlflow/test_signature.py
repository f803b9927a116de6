"""What a signature makes of every form of data, and how it refuses what does not fit: no model, no server."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from inference_server.frames import CSV_BODY, GET, INVOCATIONS, POST
from inference_server.mlflow_answers import plain
from inference_server.mlflow_forms import read_wish
from inference_server.mlflow_params import params_of
from inference_server.mlflow_schemas import input_schema, output_schema
from inference_server.mlflow_signature import Signature
from inference_server.scoring_request import BadRequest

pd = pytest.importorskip("pandas")

TWO = [{"type": "double", "name": "a"}, {"type": "long", "name": "b"}]
DOUBLES = [{"type": "double", "name": "a"}, {"type": "double", "name": "b"}]
MIXED: list[dict[str, Any]] = [
    {"type": "string", "name": "s"},
    {"type": "boolean", "name": "t"},
    {"type": "datetime", "name": "d"},
    {"type": "binary", "name": "x"},
    {"type": "integer", "name": "i", "required": False},
]
TENSOR = [{"type": "tensor", "tensor-spec": {"dtype": "float32", "shape": [-1, 2]}}]
IMAGE = [{"type": "tensor", "tensor-spec": {"dtype": "uint8", "shape": [-1, 2, 2]}}]
NAMED = [
    {"type": "tensor", "name": "x", "tensor-spec": {"dtype": "float64", "shape": [-1, 2]}},
    {"type": "tensor", "name": "y", "tensor-spec": {"dtype": "int64", "shape": [-1]}},
]


class Sent:
    """A request as far as the reading of its body looks at it."""

    def __init__(self, body: object, flags: int = 0, method: int = POST) -> None:
        self.flags = flags
        self.method = method
        self.body = body if isinstance(body, bytes) else json.dumps(body).encode()

    def query_arguments(self) -> dict[str, Any]:
        return dict(json.loads(self.body))


def given(inputs: list[dict[str, Any]], body: object, flags: int = 0) -> Any:
    signature = Signature(inputs)
    wish = read_wish(Sent(body, flags), frozenset(map(str, signature.names)))  # type: ignore[arg-type]
    return signature.enforce(wish.data, wish.field)


def refusal(inputs: list[dict[str, Any]], body: object, flags: int = 0) -> str:
    with pytest.raises(BadRequest) as refused:
        given(inputs, body, flags)
    assert 400 <= refused.value.status < 500
    return refused.value.message


ROWS = [[1.5, 2], [3, 4]]
RECORDS = [{"a": 1.5, "b": 2}, {"a": 3, "b": 4}]
TABLES: list[tuple[object, int]] = [
    ({"input_data": {"columns": ["a", "b"], "data": ROWS}}, 0),
    ({"input_data": {"columns": ["b", "a"], "index": [7, 8], "data": [[2, 1.5], [4, 3]]}}, 0),
    ({"input_data": {"columns": ["a", "c", "b"], "data": [[1.5, "?", 2], [3, 0, 4]]}}, 0),
    ({"input_data": RECORDS}, 0),
    ({"input_data": ROWS}, 0),
    ({"input_data": {"data": ROWS}}, 0),
    ({"input_data": {"a": [1.5, 3], "b": [2, 4]}}, 0),
    ({"dataframe_split": {"columns": ["a", "b"], "data": ROWS}}, INVOCATIONS),
    ({"dataframe_records": RECORDS}, INVOCATIONS),
    ({"instances": RECORDS}, INVOCATIONS),
    ({"instances": ROWS}, INVOCATIONS),
    ({"inputs": {"a": [1.5, 3], "b": [2, 4]}}, INVOCATIONS),
    ({"inputs": RECORDS}, INVOCATIONS),
    (b"a,b,c\n1.5,2,x\n3,4,y\n", INVOCATIONS | CSV_BODY),
]


@pytest.mark.parametrize(("body", "flags"), TABLES, ids=range(len(TABLES)))
def test_every_form_of_a_table_becomes_the_same_frame(body: object, flags: int) -> None:
    frame = given(TWO, body, flags)
    assert list(frame.columns) == ["a", "b"]
    assert [str(kind) for kind in frame.dtypes] == ["float64", "int64"]
    assert frame.values.tolist() == [[1.5, 2.0], [3.0, 4.0]]


def test_the_index_of_the_rows_is_kept() -> None:
    body = {"input_data": {"columns": ["a", "b"], "index": ["k", "l"], "data": ROWS}}
    assert list(given(TWO, body).index) == ["k", "l"]


@pytest.mark.parametrize(("body", "flags"), TABLES[:-1], ids=range(len(TABLES) - 1))
def test_the_array_is_what_the_frame_would_be(body: object, flags: int) -> None:
    for inputs in (TWO, DOUBLES):
        signature = Signature(inputs)
        wish = read_wish(Sent(body, flags), frozenset(signature.names))  # type: ignore[arg-type]
        array = signature.matrix(wish.data, wish.field)
        frame = signature.enforce(wish.data, wish.field)
        assert array.dtype == frame.to_numpy().dtype
        assert array.flags.f_contiguous
        assert np.array_equal(array, frame.to_numpy())


def test_types_beside_numbers_are_made() -> None:
    row = ["text", True, "2024-05-01T12:00:00", "AAE=", 3]
    frame = given(MIXED, {"input_data": [dict(zip("stdxi", row, strict=True))]})
    assert frame.iloc[0].tolist()[:2] == ["text", True]
    assert str(frame["d"].dtype) == "datetime64[ns]"
    assert frame["x"][0] == b"\x00\x01"
    assert str(frame["i"].dtype) == "int32"


def test_an_optional_column_may_be_left_out() -> None:
    frame = given(MIXED, {"input_data": [{"s": None, "t": False, "d": "2024-05-01", "x": "AA=="}]})
    assert "i" not in frame


def of(columns: str, *row: object) -> dict[str, Any]:
    return {"input_data": {"columns": list(columns), "data": [list(row)]}}


WRONG: list[tuple[list[dict[str, Any]], object, int, tuple[str, ...]]] = [
    (TWO, {"dataframe_split": {}}, 0, ("input_data",)),
    (TWO, {"input_data": {}, "inputs": {}}, INVOCATIONS | CSV_BODY, ("CSV",)),
    (TWO, [1], 0, ("object",)),
    (TWO, b"{", 0, ("JSON",)),
    (TWO, b"", 0, ("empty",)),
    (TWO, of("b", 2), 0, ("lacks", "a", "The model takes a, b")),
    (TWO, of("cb", 2, 2), 0, ("Not known to the model: c",)),
    (TWO, of("ab", "1", 2), 0, ("column a", "row 0", "a text, '1'")),
    (TWO, of("ab", True, 2), 0, ("column a", "true or false")),
    (TWO, of("ab", 1, 2.0), 0, ("column b", "whole numbers (long)", "2.0")),
    (TWO, of("ab", 1, None), 0, ("column b", "null")),
    (TWO, of("ab", 1, 2**63), 0, ("column b", "beyond long")),
    (TWO, of("ab", 1), 0, ("data[0] has 1 values; there are 2",)),
    (TWO, {"input_data": [[1]]}, 0, ("rows of 1 values", "2 columns")),
    (TWO, {"input_data": {"a": [1], "b": [1, 2]}}, 0, ("different lengths",)),
    (TWO, {"input_data": {"columns": ["a", "b"], "data": []}}, 0, ("no rows",)),
    (
        TWO,
        {"input_data": {"columns": ["a", "b"], "index": [1, 2], "data": [[1, 2]]}},
        0,
        ("index",),
    ),
    (TWO, of("aab", 1, 2, 3), 0, ("twice", "a")),
    (TWO, {"inputs": {}, "instances": []}, INVOCATIONS, ("exactly one",)),
    (TWO, {"dataframe_records": {}}, INVOCATIONS, ("dataframe_records",)),
    (TWO, b"a\n1\n", INVOCATIONS | CSV_BODY, ("lacks the column b",)),
    (TWO, b"a,b\nx,2\n", INVOCATIONS | CSV_BODY, ("CSV",)),
    (MIXED, of("stdx", "s", True, "yesterday-ish", "AA=="), 0, ("column d", "ISO 8601")),
    (MIXED, of("stdx", "s", True, "2024-01-01", "?"), 0, ("column x", "base64")),
    (TENSOR, {"input_data": []}, 0, ("empty",)),
    (TENSOR, {"input_data": [1, 2]}, 0, ("shape (2)", "(any, 2)")),
    (TENSOR, {"input_data": [[1, 2], [3]]}, 0, ("no array",)),
    (TENSOR, {"input_data": [["1", "2"]]}, 0, ("float32",)),
    (IMAGE, {"input_data": [[[1, 2], [3, 4.5]]]}, 0, ("uint8",)),
    (IMAGE, {"input_data": [[[1, 2], [3, 256]]]}, 0, ("beyond uint8",)),
    (NAMED, {"input_data": {"x": [[1, 2]]}}, 0, ("lacks y",)),
    (NAMED, {"input_data": [[1, 2]]}, 0, ("tensors", "x, y")),
]


@pytest.mark.parametrize(("inputs", "body", "flags", "words"), WRONG, ids=range(len(WRONG)))
def test_what_does_not_fit_is_refused_in_words_that_name_it(
    inputs: list[dict[str, Any]], body: object, flags: int, words: tuple[str, ...]
) -> None:
    message = refusal(inputs, body, flags)
    assert all(word in message for word in words), message


def test_a_null_in_a_column_of_doubles_is_not_a_number() -> None:
    assert np.isnan(given(TWO, of("ab", None, 2))["a"][0])


def test_tensors_get_their_type_and_shape() -> None:
    assert given(TENSOR, {"input_data": [[1, 2]]}).dtype == np.float32
    flat = given(IMAGE, {"input_data": [[1, 2, 3, 4]]})
    assert flat.shape == (1, 2, 2)
    named = given(NAMED, {"inputs": {"x": [[1, 2]], "y": [3], "z": [4]}}, INVOCATIONS)
    assert {name: str(array.dtype) for name, array in named.items()} == {
        "x": "float64",
        "y": "int64",
    }


def test_dates_of_one_column_may_be_written_in_every_way_of_iso_8601() -> None:
    column = [{"type": "datetime", "name": "d"}]
    rows = [["2024-05-01"], ["2024-05-01T12:00:00.5"], ["2024-05-01T12:00:00+02:00"], [None]]
    dates = given(column, {"input_data": {"columns": ["d"], "data": rows}})["d"]
    assert [str(date) for date in dates] == [
        "2024-05-01 00:00:00",
        "2024-05-01 12:00:00.500000",
        "2024-05-01 10:00:00",
        "NaT",
    ]


def test_a_body_of_a_chat_is_taken_whole_by_models_that_have_messages() -> None:
    body = {"messages": [{"role": "user", "content": "Hi"}], "temperature": 0.5}
    wish = read_wish(Sent(body, INVOCATIONS), frozenset(("messages",)))  # type: ignore[arg-type]
    assert wish.data.values == body
    with pytest.raises(BadRequest, match="exactly one"):
        read_wish(Sent(body, INVOCATIONS), frozenset(("a",)))  # type: ignore[arg-type]


def test_without_a_signature_data_is_taken_as_it_comes() -> None:
    assert given([], {"input_data": [[1, 2]]}).shape == (1, 2)
    assert list(given([], of("ab", 1, "x")).columns) == ["a", "b"]
    assert set(given([], {"input_data": {"x": [1], "y": [2]}})) == {"x", "y"}


def test_a_query_is_read_like_a_body() -> None:
    sent = Sent({"input_data": [[1, 2]]}, method=GET)
    assert read_wish(sent, frozenset()).data.values == [[1, 2]]  # type: ignore[arg-type]


PARAMS: list[dict[str, Any]] = [
    {"name": "k", "type": "double", "default": 2.0, "shape": None},
    {"name": "words", "type": "string", "default": ["a"], "shape": [-1]},
]
WHEN: list[dict[str, Any]] = [{"name": "t", "type": "datetime", "default": None}]


def test_parameters_have_defaults_and_types() -> None:
    assert params_of(None, PARAMS) == {"k": 2.0, "words": ["a"]}
    assert params_of({"k": 3, "other": 1}, PARAMS) == {"k": 3.0, "words": ["a"]}
    for wrong, word in [({"k": "3"}, "params.k"), ({"words": "b"}, "params.words"), (3, "params")]:
        with pytest.raises(BadRequest, match=word):
            params_of(wrong, PARAMS)


def test_a_date_as_parameter_is_a_text_that_mlflow_reads_in_utc() -> None:
    for sent, told in [
        ("2024-05-01", "2024-05-01"),
        ("2024-05-01T12:00:00Z", "2024-05-01T12:00:00"),
        ("2024-05-01T12:00:00+02:00", "2024-05-01T10:00:00"),
    ]:
        assert params_of({"t": sent}, WHEN) == {"t": told}
    with pytest.raises(BadRequest, match=r"params\.t takes a date"):
        params_of({"t": "soon"}, WHEN)


FRAME = pd.DataFrame({"n": [1, 2], "f": [0.5, float("nan")], "s": ["x", None]})
ANSWERS: list[tuple[object, object]] = [
    (np.array([1.5, 2.0]), [1.5, 2.0]),
    (np.array([1.5, np.nan, np.inf]), [1.5, None, None]),
    (np.array([[1, 2]]), [[1, 2]]),
    (np.array(["a"]), ["a"]),
    (np.array(["2024-05-01"], dtype="datetime64[ns]"), ["2024-05-01T00:00:00"]),
    (FRAME, [{"n": 1, "f": 0.5, "s": "x"}, {"n": 2, "f": None, "s": None}]),
    (FRAME["n"], [{"n": 1}, {"n": 2}]),
    (pd.Series([1.5]), [{"0": 1.5}]),
    ({"n": FRAME["n"]}, {"n": [1, 2]}),
    ({"a": np.float32(0.5), "b": np.array([1])}, {"a": 0.5, "b": [1]}),
    ([{"t": pd.Timestamp("2024-05-01")}, pd.NaT], [{"t": "2024-05-01T00:00:00"}, None]),
    ((part for part in ("a", b"\x00")), ["a", "AA=="]),
    ("text", "text"),
    (None, None),
]


@pytest.mark.parametrize(("found", "wanted"), ANSWERS, ids=range(len(ANSWERS)))
def test_answers_are_json_and_nothing_but_json(found: object, wanted: object) -> None:
    answer = plain(found)
    assert answer == wanted
    assert json.loads(json.dumps(answer, allow_nan=False)) == wanted


def test_an_answer_that_json_cannot_carry_is_told() -> None:
    with pytest.raises(TypeError, match="object"):
        plain(object())


def test_the_document_shows_columns_parameters_and_an_example(tmp_path: Any) -> None:
    made = input_schema(TWO, PARAMS, str(tmp_path), "")
    assert made["example"] == {
        "input_data": {"columns": ["a", "b"], "data": [[0.0, 0]]},
        "params": {"k": 2.0, "words": ["a"]},
    }
    assert made["required"] == ["input_data"]
    saved = {"dataframe_split": {"columns": ["a", "b"], "data": [[9, 9]]}}
    (tmp_path / "serving_input_example.json").write_text(json.dumps(saved))
    shown = input_schema(TWO, [], str(tmp_path), "serving_input_example.json")
    assert shown["example"]["input_data"] == saved["dataframe_split"]
    named = input_schema(NAMED, [], str(tmp_path), "")
    assert named["example"]["input_data"] == {"x": [[0.0, 0.0]], "y": [0]}
    assert output_schema(TENSOR)["type"] == "array"
    assert output_schema(TWO)["items"]["properties"]["b"]["type"] == "integer"
