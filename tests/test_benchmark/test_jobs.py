"""Jobs in processes, with a worker that trains nothing."""

import json
import os
import sys
import time

import pytest
from mmengine.config import Config

from mmregda.benchmark.jobs import Job, run_jobs, write_json

WORKER = """
import json, os, sys, time
from pathlib import Path
folder = Path(sys.argv[1])
namespace = {}
exec((folder / 'config.py').read_text(), namespace)
(folder / 'began').write_text(repr(time.time()))
(folder / 'count').open('a').write('.')
if namespace['seconds'] < 0:
    sys.exit('error: out of order')
time.sleep(namespace['seconds'])
(folder / 'ended').write_text(repr(time.time()))
pretrain = namespace.get('pretrain')
found = dict(checkpoint=f'{folder}/weights', began_from=pretrain,
             threads=os.environ['OMP_NUM_THREADS'])
(folder / 'result.json').write_text(json.dumps(found))
"""


@pytest.fixture
def worker(tmp_path):
    path = tmp_path / 'worker.py'
    path.write_text(WORKER)
    return [sys.executable, str(path)]


def job(root, name, seconds=0.0, needs=None):
    cfg = Config(dict(train_cfg=dict(max_iters=5), seconds=seconds))
    return Job(name=name, folder=root / name, cfg=cfg, needs=needs)


def times(finished):
    began, ended = (
        float((finished.folder / name).read_text()) for name in ('began', 'ended')
    )
    return began, ended


def test_jobs_wait_for_what_they_need_and_share_the_slots(tmp_path, worker):
    start = job(tmp_path, 'start', 0.3)
    others = [job(tmp_path, str(i), 0.5, needs=start) for i in range(3)]
    for other in others:
        other.cfg.pretrain = dict(parts=('backbone',))
    seen = []
    run_jobs(
        [*others, start], 2, lambda j: seen.append((j.name, j.status)), worker=worker
    )
    assert seen[0] == ('start', 'running')
    assert {status for _, status in seen[-1:]} == {'done'}
    start_ended = times(start)[1]
    for other in others:
        assert times(other)[0] >= start_ended
        began_from = dict(parts=['backbone'], checkpoint=f'{start.folder}/weights')
        assert other.result['began_from'] == began_from
    spans = [times(other) for other in others]
    for moment in [begin for begin, _ in spans]:
        assert sum(begin <= moment < end for begin, end in spans) <= 2
    assert all(other.iteration == 5 for other in others)


def test_finished_jobs_are_not_run_again_and_new_ones_are(tmp_path, worker):
    run_jobs([job(tmp_path, 'a')], worker=worker)
    again = [job(tmp_path, 'a'), job(tmp_path, 'b')]
    assert [j.status for j in again] == ['done', 'waiting']
    run_jobs(again, worker=worker)
    assert [j.status for j in again] == ['done', 'done']
    for name in 'ab':
        assert (tmp_path / name / 'count').read_text() == '.'


def test_failure_stops_only_what_depends_on_it(tmp_path, worker):
    bad, good = job(tmp_path, 'bad', -1), job(tmp_path, 'good')
    dependent = job(tmp_path, 'dependent', needs=bad)
    run_jobs([bad, dependent, good], worker=worker)
    assert [j.status for j in (bad, dependent, good)] == ['failed', 'failed', 'done']
    assert bad.message == 'error: out of order'
    assert '"bad"' in dependent.message
    assert not dependent.folder.exists()
    # It is tried again, with the log of before kept.
    retried = job(tmp_path, 'bad')
    run_jobs([retried], worker=worker)
    assert retried.status == 'done'
    assert 'out of order' in retried.log.read_text()


def test_worker_that_dies_without_a_result_has_failed(tmp_path):
    lost = job(tmp_path, 'lost')
    run_jobs([lost], worker=[sys.executable, '-c', 'pass'])
    assert (lost.status, lost.message) == ('failed', 'it wrote nothing')


def test_worker_that_was_killed_is_not_told_by_what_it_wrote(tmp_path):
    lost = job(tmp_path, 'lost')
    program = 'import os; print("loss: 1.2", flush=True); os.kill(os.getpid(), 9)'
    run_jobs([lost], worker=[sys.executable, '-c', program])
    assert lost.status == 'failed'
    assert 'SIGKILL' in lost.message and 'memory' in lost.message


def test_error_in_the_view_stops_the_workers(tmp_path, worker):
    slow = job(tmp_path, 'slow', 60)

    def interrupt():
        if (slow.folder / 'began').exists():
            raise KeyboardInterrupt

    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        run_jobs([slow], on_tick=interrupt, worker=worker)
    assert time.monotonic() - began < 20
    assert slow.status == 'waiting'
    assert not (slow.folder / 'ended').exists()


def test_threads_are_shared_out(tmp_path, worker, monkeypatch):
    monkeypatch.delenv('OMP_NUM_THREADS', raising=False)
    monkeypatch.setattr(os, 'cpu_count', lambda: 8)
    one = job(tmp_path, 'one')
    run_jobs([one], slots=3, worker=worker)
    assert one.result['threads'] == '2'


def test_result_is_whole_or_not_there(tmp_path):
    path = tmp_path / 'result.json'
    write_json(path, dict(a=1))
    with pytest.raises(TypeError):
        write_json(path, dict(a=object()))
    assert json.loads(path.read_text()) == dict(a=1)
