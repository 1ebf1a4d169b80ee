"""Run configurations: what is refused says where, and the example that the documentation shows is accepted."""

from __future__ import annotations

import tomllib
from copy import deepcopy
from decimal import Decimal
from pathlib import Path

import pytest

from apps.pipeline.config import ConfigError, RunConfig, default_config, load_config, parse_config

EXAMPLE = Path(__file__).parents[2] / "docs" / "run.example.toml"


def changed(path: str, value: object) -> dict:
    """The default configuration with one field set: `endpoints.0.base_url`."""
    data = deepcopy(default_config())
    *parents, last = path.split(".")
    place = data
    for part in parents:
        place = place[int(part)] if isinstance(place, list) else place.setdefault(part, {})
    place[last] = value
    return data


def refusal(data: dict) -> str:
    with pytest.raises(ConfigError) as caught:
        parse_config(data)
    return str(caught.value)


def test_the_default_is_the_published_grid_on_simulated_models():
    config = parse_config({})

    assert config.paths_per_question == len(config.slots) == 9
    assert all(e.simulated for e in config.endpoints)
    assert (config.cutoffs.easy, config.cutoffs.medium) == (4, 7)
    assert config.regenerator.temperature is None


@pytest.mark.parametrize(
    "url",
    [
        "",
        "localhost:8000/v1",
        "ftp://models/v1",
        "file:///etc/passwd",
        "http:///v1",
        "http://user:secret@models/v1",
        "http://models/v1?key=secret",
        "http://models/v1#part",
    ],
)
def test_a_url_that_is_no_model_server_is_refused(url):
    told = refusal(changed("endpoints.1.base_url", url))

    assert told.startswith("endpoints.1.base_url: ")
    assert "http(s)://host" in told
    assert "secret" not in told


@pytest.mark.parametrize("host", ["169.254.169.254", "metadata.google.internal", "METADATA.google.internal:80"])
def test_a_clouds_metadata_address_is_refused(host):
    told = refusal(changed("endpoints.0.base_url", f"http://{host}/v1"))

    assert told.startswith("endpoints.0.base_url: ")
    assert "metadata" in told


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("endpoints.0.name", "Upper Case"),
        ("endpoints.0.max_in_flight", 0),
        ("endpoints.0.timeout_s", 0),
        ("endpoints.0.price_in", "-1"),
        ("endpoints.0.price_out", "NaN"),
        ("endpoints.0.api_key", "sk-secret"),
        ("generators.2.name", "../x"),
        ("generators.0.top_p", 1.5),
        ("generators.0.max_tokens", 0),
        ("judge.temperature", 2.5),
        ("ranker.top_p", 0),
        ("refiner.max_tokens", -1),
        ("questions.limit", 0),
        ("questions.benchmark", ["medqa"]),
        ("cutoffs.easy", -1),
        ("keep", 4),
        ("regenerate", 0),
        ("label_policy", "three"),
        ("unjudged_policy", "ignore"),
        ("schema_retries", 11),
        ("judges", {}),
    ],
)
def test_a_field_out_of_range_or_unknown_is_named(path, value):
    assert [line.split(":")[0] for line in refusal(changed(path, value)).splitlines()] == [path]


def test_a_temperature_out_of_range_is_named_by_its_place():
    assert refusal(changed("generators.1.temperatures", [0.7, 3])).startswith("generators.1.temperatures.1:")


@pytest.mark.parametrize("field", ["endpoints", "generators"])
def test_two_of_the_same_name_are_refused(field):
    data = default_config()
    data[field].append(deepcopy(data[field][0]))

    assert f"{field}: two have the same name" in refusal(data)


def test_every_missing_endpoint_is_named():
    data = changed("judge.endpoint", "nowhere")
    data["generators"][1]["endpoint"] = "gone"
    told = refusal(data)

    assert "judge.endpoint: no endpoint is named 'nowhere'" in told
    assert "generators.r1-distill-70b.endpoint: no endpoint is named 'gone'" in told
    assert "ranker" not in told


@pytest.mark.parametrize("easy", [7, 8])
def test_easy_must_be_below_medium(easy):
    assert refusal(changed("cutoffs", {"easy": easy, "medium": 7})).startswith("cutoffs: ")


@pytest.mark.parametrize(("medium", "fits"), [(8, True), (9, False)])
def test_medium_must_leave_room_for_difficult(medium, fits):
    data = changed("cutoffs", {"easy": 4, "medium": medium})

    if fits:
        assert parse_config(data).cutoffs.medium == medium
    else:
        assert "cutoffs.medium must be below the 9 paths" in refusal(data)


@pytest.mark.parametrize("temperatures", [[], [0.5] * 11])
def test_a_question_has_between_1_and_30_paths(temperatures):
    data = default_config()
    for generator in data["generators"]:
        generator["temperatures"] = temperatures

    assert "generators: between 1 and 30 paths" in refusal(data)


def test_all_problems_are_told_at_once():
    data = changed("keep", 9) | {"regenerate": 9}

    assert [line.split(":")[0] for line in refusal(data).splitlines()] == ["keep", "regenerate"]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"keep = 1\nkeep 2\n", "line 2"),
        (b"keep = '\xff'\n", "not UTF-8 at byte 8"),
        (b"keep = 9\nregenerate = 9\n", "keep: "),
    ],
)
def test_a_bad_file_is_named(tmp_path, content, told):
    file = tmp_path / "run.toml"
    file.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        load_config(file)

    assert told in str(caught.value)
    assert all(line.startswith(f"{file}: ") for line in str(caught.value).splitlines())


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"none\.toml: No such file"):
        load_config(tmp_path / "none.toml")


def test_the_example_in_the_documentation_is_accepted_and_differs_only_in_its_servers():
    config, default = load_config(EXAMPLE), parse_config({})

    assert [(g.name, g.temperatures) for g in config.generators] == [
        (g.name, g.temperatures) for g in default.generators
    ]
    assert config.cutoffs == default.cutoffs
    for stage in ("judge", "ranker", "refiner", "regenerator", "summariser"):
        assert getattr(config, stage).model_dump(exclude={"endpoint"}) == getattr(default, stage).model_dump(
            exclude={"endpoint"}
        )
    mini = config.endpoint("mini")
    assert (mini.api_key_env, mini.simulated) == ("OPENAI_API_KEY", False)
    assert mini.cost(2_000_000, 1_000_000, 1_000_000) == Decimal("0.825")


def test_the_example_shows_every_field():
    shown = tomllib.loads(EXAMPLE.read_text(encoding="utf-8"))

    assert set(RunConfig.model_fields) - set(shown) == {"prompts", "imported", "paths_from"}
    config = load_config(EXAMPLE)
    for one, table in ((config.cutoffs, shown["cutoffs"]), (config.questions, shown["questions"])):
        assert set(type(one).model_fields) == set(table)
    for listed, tables in ((config.endpoints, shown["endpoints"]), (config.generators, shown["generators"])):
        assert set(type(listed[0]).model_fields) == {field for table in tables for field in table}
    assert set(type(config.judge).model_fields) == set(shown["judge"])


def test_the_digest_follows_the_configuration():
    assert parse_config({}).digest() == parse_config({}).digest()
    assert parse_config({}).digest() != parse_config({"seed": 1}).digest()


def test_an_imported_runs_generators_need_no_endpoint():
    data = changed("generators.0.endpoint", "gone")

    assert parse_config(data | {"imported": True}).generators[0].endpoint == "gone"
