"""Names of LLMs and devices as the run table spells them, with their size."""

from __future__ import annotations

import pandas as pd

from t2m_bayes.cards import RESERVED, Catalog
from t2m_bayes.loading.sieve import Sieve, as_text
from t2m_bayes.precisions import BYTES_PER_PARAM, USUAL_PRECISION, precision_key


def device_name(text: str, cards: Catalog) -> str:
    """Return a device as the run table spells it: the card's name, or the text as it is."""
    base, plus, engine = text.strip().partition("+")
    if base.casefold() in RESERVED:
        return base.casefold() + plus + engine
    card = cards.device(base)
    return (card.name if card else base) + plus + engine


def settle_devices(sieve: Sieve, cards: Catalog, default: str | None) -> None:
    """Give every row its device, with the engine after a plus where the row names one."""
    frame = sieve.frame
    device = as_text(frame["device"]) if "device" in frame else pd.Series(None, frame.index, object)
    device = device.where(device.notna(), default)
    sieve.set("device", device)
    sieve.reject(device.isna(), "no device: neither the row nor the device option names one")
    names = {name: device_name(name, cards) for name in sieve.frame["device"].unique()}
    sieve.set("device", sieve.frame["device"].map(names).astype(object))
    sieve.decisions += [f"device {a!r} is {b}" for a, b in names.items() if a != b]
    for column in ("engine", "framework"):
        if column in sieve.frame:
            engine = as_text(sieve.frame[column]).str.casefold()
            bare = engine.notna() & ~sieve.frame["device"].str.contains("+", regex=False)
            named = sieve.frame["device"].where(
                ~bare, sieve.frame["device"] + "+" + engine.fillna("")
            )
            sieve.set("device", named)


def settle_llms(sieve: Sieve, cards: Catalog) -> None:
    """Give every row the name of its LLM, its precision, parameters and bytes.

    Where an LLM has a card, the card's ``params_b`` counts, so that all files agree on its size.
    A row's own ``bytes_per_param`` always counts.
    """
    for column in ("params_b", "bytes_per_param"):
        if column not in sieve.frame:
            sieve.set(column, float("nan"))
    frame = sieve.frame
    llm = as_text(frame["llm"])
    labelled = [(text or "").partition("@") for text in llm]
    names = pd.Series([name.strip() or None for name, _, _ in labelled], frame.index, object)
    label = pd.Series([after.strip() or None for _, _, after in labelled], frame.index, object)
    precision = as_text(frame["precision"]) if "precision" in frame else label
    precision = precision.where(precision.notna(), label)
    sieve.frame = frame.assign(llm=names, precision=precision)
    sieve.reject(sieve.frame["llm"].isna(), "llm is missing")
    for name in list(sieve.frame["llm"].unique()):
        _settle_llm(sieve, cards, name)


def _settle_llm(sieve: Sieve, cards: Catalog, name: str) -> None:
    card = cards.llm(name)
    rows = sieve.frame["llm"].eq(name)
    if card is None:
        unsized = rows & sieve.frame["params_b"].isna()
        hint = f"{cards.suggest(name)} Or add a card, or a params_b column"
        sieve.reject(unsized, f"unknown LLM {name!r}: {hint}")
    usual = precision_key(card.precision if card else USUAL_PRECISION)
    canonical = card.name if card else name
    if card and canonical != name:
        sieve.decisions.append(f"LLM {name!r} is {canonical}")
    rows = sieve.frame["llm"].eq(name)
    silent = rows & sieve.frame["precision"].isna()
    if silent.any() and not card:
        sieve.decisions.append(f"{name}: no precision given, {usual} assumed")
    sieve.set("precision", sieve.frame["precision"].mask(silent, usual))
    for given in list(sieve.frame.loc[rows, "precision"].unique()):
        key = precision_key(given)
        label = canonical if key == usual else f"{canonical}@{key.upper()}"
        size = card.bytes_per_param if card and key == usual else BYTES_PER_PARAM.get(key)
        here = sieve.frame["llm"].eq(name) & sieve.frame["precision"].eq(given)
        if size is None:
            unsized = here & sieve.frame["bytes_per_param"].isna()
            sieve.reject(unsized, f"unknown precision {given!r}, and no bytes_per_param")
            here = sieve.frame["llm"].eq(name) & sieve.frame["precision"].eq(given)
        filled = sieve.frame["bytes_per_param"].fillna(size if size else float("nan"))
        sieve.frame = sieve.frame.assign(
            bytes_per_param=sieve.frame["bytes_per_param"].where(~here, filled),
            params_b=sieve.frame["params_b"].mask(here, card.params_b)
            if card
            else sieve.frame["params_b"],
            llm=sieve.frame["llm"].mask(here, label),
            precision=sieve.frame["precision"].mask(here, key),
        )
