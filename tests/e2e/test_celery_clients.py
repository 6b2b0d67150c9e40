"""Python programs that use Celery, with workers of ours behind them.

Each test runs with a worker of Celery's own in place of ours too, which shows that it asks for
nothing but what Celery does.
"""

import datetime
import time
import uuid

import celery as celery_package
import pytest
from celery import chain, chord, exceptions, group
from celery.result import allow_join_result

import celery_peer
from harness import wait_until

GET = {"timeout": 15, "interval": 0.02}


@pytest.fixture(scope="module")
def redis():
    with celery_peer.redis_server.RedisServer() as server:
        yield server


@pytest.fixture(scope="module", params=celery_peer.KINDS)
def worker(request, redis, tmp_path_factory):
    worker = celery_peer.WORKERS[request.param](redis, tmp_path_factory.mktemp(request.param),
                                                slots=2)
    yield worker
    worker.stop()


@pytest.fixture(scope="module")
def app(redis, worker):
    app = celery_peer.client(redis)
    with allow_join_result():
        yield app
    app.close()


@pytest.fixture
def tasks(app):
    """peer.add as tasks.add, and so on."""

    class Tasks:
        def __getattr__(self, name):
            return app.tasks[f"peer.{name}"]

    return Tasks()


def busy(tasks, worker, seconds):
    """Occupies both slots of the worker; what is sent meanwhile waits."""
    naps = [tasks.nap.delay(seconds) for _ in range(2)]
    wait_until(lambda: len(active(tasks, worker)) == 2, 10, "that both slots are taken")
    return naps


def active(tasks, worker):
    answer = tasks.nap.app.control.inspect(timeout=0.3, destination=[worker.node]).active()
    return (answer or {}).get(worker.node, [])


# ---- One task ----------------------------------------------------------------------------------


def test_the_version_that_is_proved():
    assert celery_package.__version__.startswith("5.")


def test_delay_and_get(tasks):
    result = tasks.add.delay(20, 22)
    assert result.get(**GET) == 42
    assert (result.state, result.successful(), result.traceback) == ("SUCCESS", True, None)
    assert result.date_done is not None


def test_many_at_once(tasks):
    results = [tasks.add.delay(number, 1) for number in range(30)]
    assert [result.get(**GET) for result in results] == list(range(1, 31))


@pytest.mark.parametrize("args, kwargs", [
    ([], {}),
    ([None, True, 0, -1, 0.1, 1e300, 2**53 + 1, 2**63, -2**70, "", "naïve 😀", [], {}], {}),
    ([[[["deep"]]], {"a": {"b": [1, {"c": None}]}}], {"key": "value", "ключ": [1]}),
    (["line\nbreak", "quote\"'", "\u0000", "\\"], {"_private": 1}),
    (["x" * 20_000], {}),
])
def test_values_come_back_as_they_were(tasks, args, kwargs):
    assert tasks.echo.delay(*args, **kwargs).get(**GET) == {"args": args, "kwargs": kwargs}


def test_failure(tasks):
    result = tasks.boom.delay("it is broken")
    with pytest.raises(ValueError, match="^it is broken$"):
        result.get(**GET)
    assert (result.state, result.failed()) == ("FAILURE", True)


def test_unknown_task(app):
    result = app.send_task("peer.nobody_knows_it")
    with pytest.raises(exceptions.NotRegistered):
        result.get(**GET)


def test_an_id_of_the_senders_own(tasks):
    for name in (f"order-{uuid.uuid4().hex[:8]}", str(uuid.uuid4()), "straße " + uuid.uuid4().hex):
        result = tasks.add.apply_async((1, 2), task_id=name)
        assert result.id == name and result.get(**GET) == 3


def test_countdown_and_eta(tasks):
    begin = time.time()
    soon = tasks.add.apply_async((1, 1), countdown=1)
    at = tasks.add.apply_async((1, 2), eta=datetime.datetime.fromtimestamp(
        begin + 1, datetime.timezone(datetime.timedelta(hours=5, minutes=30))))
    assert tasks.add.apply_async((1, 3)).get(**GET) == 4
    assert time.time() - begin < 1, "another task had to wait for the ones to come"
    assert (soon.get(**GET), at.get(**GET)) == (2, 3)
    assert 1 <= time.time() - begin < 4


def test_expires(tasks, worker):
    gone = tasks.add.apply_async((1, 1), expires=datetime.datetime.now(
        datetime.timezone.utc) - datetime.timedelta(seconds=5))
    in_time = tasks.add.apply_async((1, 2), expires=60)
    assert in_time.get(**GET) == 3
    with pytest.raises(exceptions.TaskRevokedError, match="expired"):
        gone.get(**GET)
    assert gone.state == "REVOKED"


def test_expires_while_it_waits(tasks, worker):
    naps = busy(tasks, worker, 2)
    late = tasks.add.apply_async((1, 1), expires=0.5)
    with pytest.raises(exceptions.TaskRevokedError, match="expired"):
        late.get(**GET)
    assert [nap.get(**GET) for nap in naps] == [2, 2]


def test_priority(tasks, worker, tmp_path):
    """0 is the most urgent, and within a band they come in their order. One claim of ours in twenty
    begins with the least urgent."""
    naps = busy(tasks, worker, 1.5)
    # What the worker has taken already is beyond the order.
    first = [tasks.nap.apply_async((0.3,), priority=0) for _ in range(4)]
    results = [tasks.note.apply_async((str(tmp_path), f"{priority}-{number}"), priority=priority)
               for number, priority in enumerate([9, 9, 6, 3, 0, 5, 0, 7, 4])]
    for result in [*naps, *first, *results]:
        result.get(**GET)
    keys = [line.split()[0] for line in (tmp_path / "starts").read_text().splitlines()]
    bands = [int(key[0]) // 3 * 3 for key in keys]
    if worker.kind == "subforge":
        bands = [band for band in bands if band != 9]
    # Two run at once, so that neighbours may change places.
    assert all(bands[i] <= bands[j] for j in range(len(bands)) for i in range(j - 1)), keys


def test_retry(tasks):
    result = tasks.flaky.delay(2)
    seen = set()
    wait_until(lambda: seen.add(result.state) or result.ready(), 20, "the end")
    assert result.get(**GET) == 3
    assert "RETRY" in seen


def test_retries_end(tasks):
    result = tasks.flaky.delay(9)
    with pytest.raises(Exception, match="try number 4"):
        result.get(timeout=30, interval=0.02)
    assert result.state == "FAILURE"


def test_progress(tasks):
    result = tasks.steps.delay(4, 0.7)
    told = []

    def ended():
        meta = result.backend.get_task_meta(result.id)  # Once: state and info may differ in time.
        if meta["status"] == "PROGRESS":
            told.append((meta["result"]["current"], meta["result"]["note"]))
        return result.ready()

    wait_until(ended, 15, "the end")
    assert result.get(**GET) == 4
    assert told == sorted(told) and told[-1] == (75, "step 4 of 4"), told


def test_ignore_result(tasks, redis, app):
    result = tasks.add.apply_async((1, 2), ignore_result=True)
    assert tasks.add.delay(1, 1).get(**GET) == 2
    time.sleep(0.5)
    assert app.backend.get(app.backend.get_key_for_task(result.id)) is None


def test_hard_time_limit(tasks):
    begin = time.time()
    result = tasks.nap.apply_async((20,), time_limit=1)
    with pytest.raises(Exception, match=r"TimeLimitExceeded|^1"):
        result.get(**GET)
    assert time.time() - begin < 12


def test_soft_time_limit(tasks):
    begin = time.time()
    result = tasks.nap.apply_async((20,), soft_time_limit=1, time_limit=11)
    with pytest.raises(Exception, match=r"SoftTimeLimitExceeded"):
        result.get(**GET)
    assert result.state == "FAILURE" and time.time() - begin < 9  # Not by the hard limit.


# ---- What follows ------------------------------------------------------------------------------


def children_of(result):
    result.get(**GET)
    return wait_until(lambda: result.children, 5, "children")


def test_link(tasks):
    result = tasks.add.apply_async((1, 2), link=tasks.add.s(10))
    [child] = children_of(result)
    assert child.get(**GET) == 13


def test_several_links(tasks):
    result = tasks.add.apply_async((1, 2), link=[tasks.add.s(10), tasks.add.s(20),
                                                 tasks.add.si(5, 5)])
    values = set()
    for child in children_of(result):
        got = child.get(**GET)
        values |= set(got) if isinstance(got, list) else {got}
    assert values == {13, 23, 10}


def test_link_error(tasks, tmp_path):
    result = tasks.boom.apply_async(link_error=tasks.failed.s(str(tmp_path)))
    with pytest.raises(ValueError):
        result.get(**GET)
    wait_until((tmp_path / "failed").exists, 10, "the errback")
    wait_until(lambda: (tmp_path / "failed").read_text() == result.id, 5, "its id")


def test_chain(tasks):
    result = chain(tasks.add.s(1, 2), tasks.add.s(3), tasks.add.s(4))()
    assert result.get(**GET) == 10
    assert (result.parent.get(**GET), result.parent.parent.get(**GET)) == (6, 3)


def test_whole_numbers_without_bounds(tasks):
    """Through what follows a task, and through a list of tasks within one."""
    large = 2**70 + 1
    assert chain(tasks.echo.s(large), tasks.echo.s(-large))().get(**GET) == {
        "args": [{"args": [large], "kwargs": {}}, -large], "kwargs": {}}
    assert tasks.echo.map([large]).delay().get(**GET) == [{"args": [large], "kwargs": {}}]


def test_chain_of_immutable_ones(tasks):
    result = chain(tasks.add.s(1, 2), tasks.add.si(5, 5), tasks.add.s(1))()
    assert result.get(**GET) == 11


def test_chain_that_breaks(tasks):
    result = chain(tasks.add.s(1, 2), tasks.boom.si("in the middle"), tasks.add.s(4))()
    with pytest.raises(ValueError, match="in the middle"):
        result.get(**GET)
    assert result.parent.state == "FAILURE" and result.parent.parent.get(**GET) == 3


def test_group(tasks):
    result = group(tasks.add.s(number, number) for number in range(5))()
    assert result.get(**GET) == [0, 2, 4, 6, 8]
    assert result.completed_count() == 5


def test_chord(tasks):
    result = chord([tasks.add.s(number, number) for number in range(5)])(tasks.total.s())
    assert result.get(**GET) == 20


def test_chord_of_one(tasks):
    assert chord([tasks.add.s(1, 1)])(tasks.total.s()).get(**GET) == 2


def test_chord_that_breaks(tasks, app):
    result = chord([tasks.add.s(1, 1), tasks.boom.s("in the header")])(tasks.total.s())
    with pytest.raises(exceptions.ChordError, match="ValueError"):
        app.AsyncResult(result.id).get(**GET)  # The body's alone, whatever its parents have.


def test_chain_of_groups(tasks):
    """The middle one becomes a chord, which only its sender can expand: whoever ran what comes
    before it."""
    result = chain(tasks.add.s(1, 1), group(tasks.add.s(1), tasks.add.s(2)), tasks.total.s())()
    assert result.get(**GET) == 7


def test_group_then_chain(tasks):
    result = (group(tasks.add.s(1, 1), tasks.add.s(2, 2)) | tasks.total.s() | tasks.add.s(100))()
    assert result.get(**GET) == 106


# ---- What each worker of Celery's can do by itself ----------------------------------------------


def test_map_starmap_and_chunks(tasks):
    assert tasks.total.map([[1, 2], [3], []]).apply_async().get(**GET) == [3, 3, 0]
    pairs = [(1, 2), (3, 4), (5, 6)]
    assert tasks.add.starmap(pairs).apply_async().get(**GET) == [3, 7, 11]
    assert tasks.add.chunks(pairs, 2).apply_async().get(**GET) == [[3, 7], [11]]
    with pytest.raises(ValueError, match="in the middle"):
        tasks.boom.map(["in the middle", "later"]).apply_async().get(**GET)


def test_what_replacing_a_task_by_a_group_leads_to(tasks, app):
    gather = app.signature("celery.accumulate", kwargs={"index": 0})
    assert chord([tasks.add.s(n, n) for n in range(3)])(gather).get(**GET) == [0, 2, 4]
    assert app.send_task("celery.accumulate", [1, [2]]).get(**GET) == [1, [2]]
    assert app.send_task("celery.backend_cleanup").get(**GET) is None


# ---- Revoking ----------------------------------------------------------------------------------


def test_revoke_before_it_starts(tasks, app, worker):
    naps = busy(tasks, worker, 2)
    results = [tasks.add.delay(1, number) for number in range(3)]
    results[1].revoke()
    time.sleep(0.3)
    assert results[0].get(**GET) == 1 and results[2].get(**GET) == 3
    with pytest.raises(exceptions.TaskRevokedError, match="revoked"):
        results[1].get(**GET)
    assert [nap.get(**GET) for nap in naps] == [2, 2]


def test_revoke_of_one_that_is_not_sent_yet(tasks, app, worker):
    name = str(uuid.uuid4())
    app.control.revoke(name)
    time.sleep(0.3)
    result = tasks.add.apply_async((1, 2), task_id=name)
    with pytest.raises(exceptions.TaskRevokedError, match="revoked"):
        result.get(**GET)


def test_revoke_of_one_that_runs_lets_it_end(tasks, app, worker):
    naps = busy(tasks, worker, 1.5)
    app.control.revoke(naps[0].id)
    assert [nap.get(**GET) for nap in naps] == [1.5, 1.5]


def test_terminate(tasks, app, worker):
    result = tasks.nap.delay(20)
    wait_until(lambda: active(tasks, worker), 10, "that it runs")
    result.revoke(terminate=True)
    with pytest.raises(exceptions.TaskRevokedError, match="terminated"):
        result.get(**GET)
    wait_until(lambda: not active(tasks, worker), 10, "that it has ended")


def test_revoke_while_it_waits_for_its_time(tasks, app, worker):
    result = tasks.add.apply_async((1, 2), countdown=2)
    inspect = app.control.inspect(timeout=0.5, destination=[worker.node])
    wait_until(lambda: (inspect.scheduled() or {}).get(worker.node), 5, "scheduled")
    result.revoke()
    with pytest.raises(exceptions.TaskRevokedError, match="revoked"):
        result.get(**GET)
