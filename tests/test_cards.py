import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from t2m_bayes.cards import Catalog, DeviceCard, LLMCard, catalog, normalised
from t2m_bayes.errors import CardError

LLM = {"params_b": 8.03, "source": "its config"}
DEVICE = {
    "role": "tegra",
    "memory_bandwidth_gb_s": 204.8,
    "peak_tflops": 42.5,
    "source": "its data sheet",
}
SPELLINGS = [
    (card.name, spelling)
    for cards in (catalog().llms, catalog().devices)
    for card in cards.values()
    for spelling in (card.name, *card.aliases)
]


@pytest.mark.parametrize(
    ("spelling", "name"),
    [
        ("1.5B", "DSR1-Qwen-1.5B"),
        ("1_5B", "DSR1-Qwen-1.5B"),
        ("DeepSeek-R1-Distill-Qwen-1_5B", "DSR1-Qwen-1.5B"),
        ("8B", "DSR1-Llama-8B"),
        ("LLaMA-8B", "DSR1-Llama-8B"),
        ("DeepSeek-R1-Distill-Llama-8B", "DSR1-Llama-8B"),
        ("qwen 14b", "DSR1-Qwen-14B"),
        ("L1-Qwen-1_5B-Max", "L1-Qwen-1.5B-Max"),
    ],
)
def test_llm_aliases(spelling: str, name: str) -> None:
    card = catalog().llm(spelling)
    assert card is not None
    assert card.name == name


@pytest.mark.parametrize("name", ["15B", "LLaMA-3-8B", "Llama-3_8B", "70B", ""])
def test_other_llms_are_not_taken_for_one_with_a_card(name: str) -> None:
    assert catalog().llm(name) is None


@pytest.mark.parametrize(
    ("spelling", "name"),
    [
        ("A100_PCIe", "a100-pcie-80gb"),
        ("4090", "rtx-4090"),
        ("Jetson AGX Orin 32GB", "jetson-agx-orin-32gb"),
        ("jetson-agx-orin", "jetson-agx-orin-64gb"),
    ],
)
def test_device_aliases(spelling: str, name: str) -> None:
    card = catalog().device(spelling)
    assert card is not None
    assert card.name == name


@pytest.mark.parametrize("name", ["server", "tegra", "Tegra"])
def test_server_and_tegra_are_no_devices(name: str) -> None:
    assert catalog().device(name) is None


@given(
    case=st.sampled_from(SPELLINGS),
    change=st.sampled_from([str.upper, str.lower, str.swapcase]),
    gap=st.sampled_from(["", " ", "-", "_"]),
)
def test_case_and_hyphens_do_not_matter(case: tuple[str, str], change: object, gap: str) -> None:
    name, spelling = case
    written = change(spelling.replace("-", gap))  # type: ignore[operator]
    found = catalog().llm(written) or catalog().device(written)
    # Dropping a hyphen before a number as in "Qwen-1.5B" must not move the point.
    assert found is not None
    assert found.name == name


@given(st.text())
def test_normalising_twice_changes_nothing(name: str) -> None:
    assert normalised(normalised(name)) == normalised(name)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"params_b": None}, ["'params_b'", "missing"]),
        ({"source": None}, ["'source'", "missing"]),
        ({"params": 8}, ["'params'", "unknown", "params_b"]),
        ({"params_b": "8"}, ["'params_b'", "number", "'8'"]),
        ({"params_b": True}, ["'params_b'", "number"]),
        ({"params_b": -8}, ["'params_b'", "above zero"]),
        ({"params_b": float("nan")}, ["'params_b'", "above zero"]),
        ({"layers": 32.5}, ["'layers'", "whole number"]),
        ({"aliases": "8B"}, ["'aliases'", "list"]),
        ({"precision": ""}, ["'precision'", "text"]),
    ],
)
def test_a_wrong_card_is_named_with_its_key(change: dict[str, object], words: list[str]) -> None:
    table = {key: value for key, value in (LLM | change).items() if value is not None}
    with pytest.raises(CardError) as error:
        LLMCard.from_table("My-8B", table, Path("llms.toml"))
    for word in ["llms.toml", "'My-8B'", *words]:
        assert word in str(error.value)


def test_a_device_has_one_of_two_roles() -> None:
    with pytest.raises(CardError, match=r"'role' must be one of server, tegra; found 'phone'"):
        DeviceCard.from_table("p", DEVICE | {"role": "phone"}, Path("devices.toml"))


def write_cards(directory: Path, llms: str, devices: str = "") -> Path:
    (directory / "llms.toml").write_text(llms)
    (directory / "devices.toml").write_text(devices)
    return directory


def test_a_card_of_your_own(tmp_path: Path) -> None:
    text = '[My-3B]\nparams_b = 3\naliases = ["3B"]\nsource = "me"\n'
    card = catalog(write_cards(tmp_path, text)).llm("3b")
    assert card == LLMCard("My-3B", 3.0, ("3B",), source="me")


@pytest.mark.parametrize(
    ("llms", "devices", "words"),
    [
        (
            '[a]\nparams_b=1\naliases=["x"]\nsource="s"\n[b]\nparams_b=1\naliases=["X"]\nsource="s"',
            "",
            "claimed by two cards, 'a' and 'b'",
        ),
        ("params_b = 1", "", "not a table"),
        ("[a", "", "not TOML"),
        (
            "",
            '[t]\nrole="tegra"\naliases=["Tegra"]\nmemory_bandwidth_gb_s=1\npeak_tflops=1\nsource="s"',
            "reserved",
        ),
    ],
)
def test_wrong_card_files(tmp_path: Path, llms: str, devices: str, words: str) -> None:
    with pytest.raises(CardError, match=words):
        Catalog.read(write_cards(tmp_path, llms, devices))


def test_missing_card_file(tmp_path: Path) -> None:
    with pytest.raises(CardError, match=r"no card file .*llms\.toml"):
        catalog(tmp_path)


def test_a_suggestion_names_the_nearest_card() -> None:
    assert "DSR1-Llama-8B" in catalog().suggest("DSR1-Lama-8B")
    assert "known LLMs" in catalog().suggest("zzzzzz")
    # Devices have names like 40gb and a6000, which are near to sizes and are no LLMs.
    assert "a100" not in catalog().suggest("9000B")


def test_every_shipped_card_has_a_source_and_plausible_numbers() -> None:
    for llm in catalog().llms.values():
        assert llm.source
        assert 0.1 < llm.params_b < 1000
    for device in catalog().devices.values():
        assert device.source
        assert 10 < device.memory_bandwidth_gb_s < 10_000
        # Operations a byte: every GPU of these generations lies in this range.
        assert 50 < device.peak_tflops * 1e3 / device.memory_bandwidth_gb_s < 600


def test_cards_import_nothing_heavy() -> None:
    code = (
        "import sys, t2m_bayes.cards; "
        "print([m for m in ('pandas', 'numpy', 'pymc') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
