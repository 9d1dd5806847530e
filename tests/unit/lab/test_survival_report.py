"""What `bascule lab survive` shows of its figures."""

from __future__ import annotations

from dataclasses import replace
from io import StringIO
from xml.etree import ElementTree as ET

import pytest
from rich.console import Console

from bascule.lab.shape import AnnouncerName, DatabaseKind, Shape
from bascule.lab.survival import plot, report
from bascule.lab.survival.catalogue import FAULTS, choose
from bascule.lab.survival.flows import Kind, Record
from bascule.lab.survival.measure import Effort, Outcome, clearest
from bascule.lab.survival.verdict import Judgement, Verdict, figures, judge
from bascule.model.data_planes import DataPlaneName
from bascule.model.errors import NotFound

_FLOW = Record(kind=Kind.HELD, instance="vm1", began=1.0, opening=0.01, sent=99, gaps=((12.0, 13.3),))
_BROKEN = replace(_FLOW, instance="vm3", broken="Connection reset by peer", broken_at=13.0)


def _outcomes() -> list[Outcome]:
    """Every fault, with a connection that was silent and one that broke."""
    outcomes = []
    for fault in FAULTS:
        records = (_FLOW, _BROKEN)
        found = figures(records, fault_at=12.0, ended_at=20.0, interval=0.05, hurt=fault.hurt)
        outcomes.append(
            Outcome(
                fault=fault,
                effort=Effort(),
                began=10.0,
                fault_at=12.0,
                ended=20.0,
                marks=((12.1, "<done> & over"),),
                records=records,
                figures=found,
                judgement=judge(found, fault.budget),
            )
        )
    return outcomes


def test_the_table_fits_a_terminal() -> None:
    """Every fault's name and figures are whole in 80 columns, also those of a hard day."""
    written = StringIO()
    outcomes = [
        replace(each, figures=replace(each.figures, broken=187, moved=67, lost_datagrams=2035, noise=1.04))
        for each in _outcomes()
    ]
    Console(width=80, file=written).print(report.table(outcomes))
    text = written.getvalue()
    assert "…" not in text
    assert all(f"\n{fault.name} " in text for fault in FAULTS)


def test_misses_are_told_with_their_reasons() -> None:
    """A missed budget names its fault, its figures, and why where that is known."""
    lines = report.missed(_outcomes())
    assert len(lines) == len(FAULTS)
    dies = next(line for line in lines if line.startswith("lb-node-hangs:"))
    assert "1 connections broke (Connection reset by peer)." in dies
    assert "BFD" in dies


def test_json_has_milliseconds() -> None:
    """Programs read the same figures, with each step's time since the fault."""
    found = report.as_json(_outcomes()[0])
    assert (found["silence-ms"], found["broken"], found["verdict"]) == (1250.0, 1, "missed")
    assert found["steps"] == [{"at-ms": 100.0, "what": "<done> & over"}]


def test_the_page_explains_every_column_and_fault() -> None:
    """The report names what it measured, what each column means, every fault and its picture."""
    text = report.page(_outcomes(), shape=Shape(), machine="A machine.", plot="s.svg", command="bascule lab survive")
    assert "500 TCP connections and 200 UDP flows" in text
    assert all(f"`{fault.name}`: {fault.sentence}" in text for fault in FAULTS)
    head = next(line for line in text.splitlines() if line.startswith("| fault"))
    assert all(f"**{name.strip()}**" in text for name in head.split("|")[2:-2])
    assert "![" in text
    assert "(s.svg)" in text


def test_the_plot_is_a_picture_of_every_fault() -> None:
    """It is well-formed XML whatever a step is called, with a strip and three curves for each fault."""
    root = ET.fromstring(plot.draw(_outcomes()))  # noqa: S314  our own words
    lines = [each for each in root.iter() if each.tag.endswith("polyline")]
    assert len(lines) == 3 * len(FAULTS)
    assert any("1.2" in (each.text or "") or "1250 ms" in (each.text or "") for each in root.iter())


def test_only_what_a_lab_can_suffer_can_be_chosen() -> None:
    """Without names all faults of such a lab are chosen; an unknown one is refused with those that are known."""
    names = {fault.name for fault in choose([], Shape())}
    assert {"keepalived-reloaded", "database-gone"}.isdisjoint(names)
    assert "keepalived-reloaded" in {fault.name for fault in choose([], Shape(dataplane=DataPlaneName.KEEPALIVED))}
    by_vrrp = {fault.name: fault for fault in choose([], Shape(announcer=AnnouncerName.VRRP))}
    assert by_vrrp.keys() - names == {"vrrp-killed", "vrrp-frozen"}
    assert names - by_vrrp.keys() == {"bird-restarted", "bgp-session-lost", "bfd-silent"}
    assert "three adverts" in by_vrrp["lb-node-dies"].why
    assert "database-gone" in {fault.name for fault in choose([], Shape(database=DatabaseKind.POSTGRESQL))}
    with pytest.raises(NotFound, match="lb-node-dies"):
        choose(["keepalived-reloaded"], Shape())


def _under(noise: float, *, doubtful: bool = True) -> Outcome:
    """What a try under so much noise gave."""
    first = _outcomes()[0]
    judgement = Judgement(verdict=Verdict.NOISE, doubtful=doubtful)
    return replace(first, figures=replace(first.figures, noise=noise), judgement=judgement)


def test_what_noise_hides_is_measured_again() -> None:
    """Until it is clear, or the tries are used up: then the one with the least noise counts."""
    tries = iter([_under(0.3), _under(0.1), _under(0.9, doubtful=False), _under(0.0)])
    clear = clearest(lambda: next(tries), 4)
    assert (clear.figures.noise, clear.tries) == (0.9, 3)
    tries = iter([_under(0.3), _under(0.1), _under(0.2)])
    dim = clearest(lambda: next(tries), 3)
    assert (dim.figures.noise, dim.tries) == (0.1, 3)
    text = report.page([clear, _under(0.3)], shape=Shape(), machine="", plot="s.svg", command="")
    assert "nothing (3 times)." in text
