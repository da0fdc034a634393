"""What only a real kernel can show: a running loop, the nested-loop opt-in, bars in the right cell."""

from __future__ import annotations

import threading

import pytest

from tests.faults.harness import Break, fault
from tests.requirements import require

pytestmark = pytest.mark.server


@pytest.fixture
def first_cell(server):
    """What a notebook begins with."""
    account = server.account(server.name("cells"))
    account["store"] = str(account["store"])
    return f"import asyncio, sys, time\nimport matrixdata as md\naccount = {account!r}"


@pytest.fixture
def kernel(first_cell, tmp_path):
    require("kernel")
    from tests.jupyter import kernels

    with kernels.kernel(tmp_path / "home") as it:
        it.run(first_cell)
        yield it


@fault(
    "F39",
    broken=Break(
        "matrixdata/connect/portal.py",
        "loop = self._usable()\n        if",
        "loop = self._usable()\n        __import__('asyncio').run(call._work())\n        if",
    ),
)
def test_both_faces_work_inside_the_running_loop_and_restart_and_run_all_resumes(kernel, first_cell):
    cells = [
        "client = md.connect(**account); asyncio.get_running_loop().is_running()",
        "x = client.create_collection('x', encrypted=False, exist_ok=True); x.room_id",
        "x.publish({'n': 1}, uid='one', wait='synced'); x.query().values()",
        "client.close()",
        "async with md.connect_async(**account) as other:\n"
        "    print(await (await other.collection('x')).query().count())",
        "'nest_asyncio' in sys.modules",
        "kept = md.connect(**account); len(kept.collections())",
    ]
    first = [kernel.run(cell).text for cell in cells]
    assert first[0] == "True"
    assert first[2:] == ["[{'n': 1}]", "", "1\n", "False", "1"]
    # Nothing was closed: the kernel is taken away while a client is open.
    kernel.restart()
    kernel.run(first_cell)
    assert [kernel.run(cell).text for cell in cells] == first


def test_nested_loops_are_an_opt_in_and_leave_both_faces_working(kernel):
    refused = kernel.attempt("asyncio.run(asyncio.sleep(0, 'done'))")
    assert refused.error == "RuntimeError"
    kernel.run("from matrixdata.jupyter import allow_nested_loops\nallow_nested_loops()")
    assert kernel.run("asyncio.run(asyncio.sleep(0, 'done'))").text == "'done'"
    ran = kernel.run(
        "async def main():\n"
        "    async with md.connect_async(**account) as client:\n"
        "        x = await client.create_collection('nested', encrypted=False, exist_ok=True)\n"
        "        await x.publish({'n': 1}, wait='synced')\n"
        "        return await x.query().count()\n"
        "asyncio.run(main())"
    )
    assert ran.text == "1"
    assert (
        kernel.run("with md.connect(**account) as c: print(c.collection('nested').query().count())").text
        == "1\n"
    )


def test_a_bar_appears_in_the_cell_that_waits_and_false_silences_it(kernel):
    kernel.run(
        "client = md.connect(**account)\nx = client.create_collection('bars', encrypted=False, exist_ok=True)"
    )
    slow = "def rows():\n    for n in range(3):\n        time.sleep(0.6)\n        yield {'n': n}\n"
    kernel.run(slow)
    shown = kernel.run("report = x.publish_many(rows())")
    assert "publishing" in shown.text + shown.html
    assert kernel.run("report").text == "<PublishReport: 3 accepted, 3 sent>"
    for silent in ("rows(), progress=False", "[{'n': 4}]"):
        assert kernel.run(f"report = x.publish_many({silent})").text == ""
    kernel.run("client.close()")


def test_a_query_that_waits_for_history_shows_it_in_its_own_cell(kernel, server):
    name, proxy = server.name("filled"), server.proxy()
    long = server.connect(name).create_collection("long", encrypted=False)
    long.publish_many([{"n": n} for n in range(12)], wait="sent")
    account = server.account(name, url=proxy.url)
    account["store"] = f"{account['store']}-elsewhere"
    shown = threading.Event()
    # No page of history comes before the bar is there: it is not the luck of who is quicker.
    proxy.fault = lambda seen: shown.wait(30) and None if "from=" in seen.path else None
    kernel.run(
        f"client = md.connect(**{account!r})\n"
        "from matrixdata.connect import progress\n"
        "from matrixdata.receiving import sources\n"
        "sources.TIMELINE_LIMIT = 5  # so that some history is left out\n"
        "progress._DELAY = 0\n"
        f"x = client.collection({long.room_id!r})"
    )
    counted = kernel.watch(
        "print(x.query(timeout=60).count())",
        lambda text: shown.set() if "fetching history" in text else None,
    )
    assert shown.is_set()
    assert counted.text.rstrip().endswith("12")
    assert kernel.run("print(x.query().count())").text == "12\n"
    kernel.run("client.close()")
