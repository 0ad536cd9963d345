"""Lists of what there is: targets, links, planners, passes, networks."""

import io

from tvm_split import report
from tvm_split.report_lists import first_sentence, links_table, passes_table, planners_table, targets_table, zoo_table


def as_text(part: object) -> str:
    buffer = io.StringIO()
    report.console(buffer).print(part)
    return buffer.getvalue()


def test_lists_hold_every_name() -> None:
    from tvm_split import zoo
    from tvm_split.passes import PASSES
    from tvm_split.plan import PLANNERS
    from tvm_split.targets import link_names, load_link, load_target, target_names

    tables = {
        targets_table([load_target(name) for name in target_names()]): target_names(),
        links_table([load_link(name) for name in link_names()]): link_names(),
        planners_table(): PLANNERS,
        passes_table(): PASSES,
        zoo_table([zoo.entry(name) for name in zoo.names()]): zoo.names(),
    }
    for made, names in tables.items():
        text = as_text(made)
        assert all(name in text for name in names)


def test_first_sentence() -> None:
    assert first_sentence("Fold it. And more.\nYet more.\n\nOther.") == "Fold it"
    assert first_sentence("Say\nit all\n\nrest") == "Say it all"
