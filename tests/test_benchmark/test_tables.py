"""Tables over seeds, against numpy and by hand."""

import numpy as np
import pytest

from mmregda.benchmark.tables import (
    by_domain,
    main_metric,
    published_averages,
    spread,
    table_of_evidence,
    table_of_methods,
    to_markdown,
)


def run(method, seed, target, source=50.0, status='done', **more):
    return dict(
        method=method,
        seed=seed,
        status=status,
        source=dict(MCP=source + 1, Avg=source),
        target=dict(MCP=target + 1, Avg=target),
        **more,
    )


def failed(method, seed):
    return dict(method=method, seed=seed, status='failed')


def test_pck_of_both_domains_is_taken_from_the_metrics():
    metrics = {'source/PCK/MCP': 0.5, 'source/AUC': 0.1, 'target/PCK/Avg': 0.123456}
    assert by_domain(metrics) == dict(source=dict(MCP=50.0), target=dict(Avg=12.35))


def test_metrics_of_other_packages_keep_their_names():
    metrics = {'target/PCK': 0.5, 'target/AUC': 0.123, 'target/EPE': 12.3456789}
    metrics.update({'target/hand/Avg': 0.25, 'source/coco/AP': None, 'val/loss': 3.0})
    found = by_domain(metrics)
    assert found['target'] == dict(
        PCK=50.0, AUC=0.123, EPE=12.3457, **{'hand/Avg': 0.25}
    )
    assert list(found['source']) == ['coco/AP'] and np.isnan(found['source']['coco/AP'])
    assert set(found) == {'source', 'target'}


@pytest.mark.parametrize(
    ('names', 'main'),
    [
        (['MCP', 'PIP', 'Avg'], 'Avg'),
        (['EPE', 'PCK', 'AUC'], 'PCK'),
        (['EPE', 'hand/MCP', 'hand/Avg', 'body/Avg'], 'hand/Avg'),
        (['EPE', 'NME', 'x/P-MPJPE'], 'EPE'),
        ([], ''),
    ],
)
def test_comparison_is_by_an_average_or_by_what_is_better_if_more(names, main):
    assert main_metric(names) == main


def other(method, seed, **target):
    return dict(method=method, seed=seed, status='done', source={}, target=target)


def test_any_metrics_make_a_table():
    runs = [other('base', s, EPE=12.0 + s, AUC=0.5 + s / 10) for s in (0, 1)]
    runs += [other('better', s, EPE=8.0, AUC=0.7) for s in (0, 1)]
    head, rows = table_of_methods(runs, 'target', ['base'])
    assert head == ['', 'EPE', 'AUC', 'over base']
    assert rows[0] == ['base', '12.5 ± 0.7', '0.5500 ± 0.0707', '']
    assert rows[1] == ['better', '8.0 ± 0.0', '0.7000 ± 0.0000', '+0.1500 ± 0.0707']
    # There is nothing of the source, and so no column.
    assert table_of_methods(runs, 'source', ['base']) == ([''], [['base'], ['better']])


def test_what_was_not_found_is_a_dash():
    nan = float('nan')
    runs = [other('base', 0, MCP=nan, Avg=20.0), other('base', 1, MCP=nan, Avg=22.0)]
    runs += [other('odd', 0, Avg=nan), other('odd', 1, MCP=3.0, Avg=25.0)]
    head, rows = table_of_methods(runs, 'target', ['base'])
    assert head == ['', 'MCP', 'Avg', 'over base']
    assert rows == [
        ['base', '-', '21.0 ± 1.4', ''],
        ['odd', '3.0', '25.0', '+3.0'],
    ]


def test_cells_are_mean_and_sample_deviation_over_seeds():
    rng = np.random.default_rng(0)
    base, better = rng.uniform(10, 30, 3), rng.uniform(20, 40, 3)
    runs = [run('base', s, v) for s, v in enumerate(base)]
    runs += [run('better', s, v) for s, v in enumerate(better)]
    head, rows = table_of_methods(
        runs, 'target', ['base', 'none'], dict(better='Better')
    )
    assert head == ['', 'MCP', 'Avg', 'over base']
    assert [row[0] for row in rows] == ['base', 'Better']
    for row, values in zip(rows, (base, better)):
        std = np.sqrt(((values - values.mean()) ** 2).sum() / 2)
        assert row[1] == f'{values.mean() + 1:.1f} ± {std:.1f}'
        assert row[2] == f'{values.mean():.1f} ± {std:.1f}'
    # Seed by seed: the spread of the difference, not of the two.
    gains = better - base
    assert rows[1][3] == f'{gains.mean():+.1f} ± {gains.std(ddof=1):.1f}'
    assert rows[0][3] == ''


def test_average_as_published_stands_beside_the_groups_where_all_have_it():
    metrics = {'target/PCK/Avg': 0.5, 'target/PCK_published/Avg': 0.4}
    metrics['target/PCK_published/MCP'] = 0.1
    assert published_averages(metrics) == dict(target=40.0)
    published = dict(published=dict(source=30.0, target=40.0))
    runs = [run('base', 0, 10.0, **published), run('base', 1, 20.0, **published)]
    head, (row,) = table_of_methods(runs, 'target', ['base'])
    assert head == ['', 'MCP', 'Avg', 'Avg as published', 'over base']
    assert row[3] == '40.0 ± 0.0'
    assert table_of_methods(runs, 'source')[1][0][3] == '30.0 ± 0.0'
    runs += [run('older', 0, 10.0)]
    assert table_of_methods(runs, 'target')[0] == ['', 'MCP', 'Avg']


def test_failed_seeds_are_said_and_the_others_count():
    runs = [run('base', 0, 10.0), run('base', 1, 20.0)]
    runs += [failed('poor', 0), run('poor', 1, 5.0), failed('lost', 0)]
    head, rows = table_of_methods(runs, 'target', ['base', 'poor'])
    assert head[-2:] == ['over base', 'over poor']
    assert rows[0][-2:] == ['', '+15.0']
    assert rows[1] == ['poor (1 of 2 seeds)', '6.0', '5.0', '-15.0', '']
    assert rows[2] == ['lost (0 of 1 seeds)', *4 * ['failed']]


def test_lone_value_has_no_spread():
    assert spread([3.14159]) == '3.1'
    assert spread([3.14159], '+') == '+3.1'


def test_markdown_is_aligned_by_its_rule():
    assert to_markdown((['', 'Avg'], [['a', '1.0']])).splitlines() == [
        '|  | Avg |',
        '| --- | --: |',
        '| a | 1.0 |',
    ]


@pytest.mark.parametrize(
    'source, consistency, chosen',
    [
        # The most consistent of those that have not forgotten the source.
        ([60.0, 59.0, 50.0], [0.3, 0.4, 0.9], 1),
        ([60.0, 59.0, 58.5], [0.3, 0.4, 0.9], 2),
        ([60.0, 57.9, 50.0], [0.3, 0.4, 0.9], 0),
    ],
)
def test_setting_is_chosen_by_evidence(source, consistency, chosen):
    runs = [run('start', 7, 0.0, 99.0, evidence=dict(confidence=1, consistency=1))]
    for i in range(3):
        evidence = dict(confidence=0.5, consistency=consistency[i])
        runs.append(run(f'dan x={i}', 7, 0.0, source[i], evidence=evidence))
    runs.append(failed('dan x=3', 7))
    head, rows = table_of_evidence(runs)
    assert [row[0] for row in rows if row[-1]] == [f'dan x={chosen}']
    assert rows[1][1:4] == [f'{source[0]:.1f}', '50.00', f'{100 * consistency[0]:.2f}']
    assert rows[-1][1] == 'failed'


def test_consistency_alone_chooses_where_no_source_is_validated():
    runs = [
        dict(
            run(f'free x={x}', 7, 0.0, evidence=dict(confidence=0.5, consistency=c)),
            source={},
        )
        for x, c in enumerate((0.2, 0.6, 0.4))
    ]
    _, rows = table_of_evidence(runs)
    assert [row[1] for row in rows] == ['', '', '']
    assert [row[-1] for row in rows] == ['', 'chosen', '']


def evident(name, consistency, **source):
    evidence = dict(confidence=0.5, consistency=consistency)
    return dict(method=name, seed=0, status='done', source=source, evidence=evidence)


@pytest.mark.parametrize(
    ('sources', 'consistency', 'chosen'),
    [
        # Without the source, consistency alone.
        ([{}, {}, {}], [0.3, 0.9, 0.4], 1),
        # What is no number is never chosen.
        ([{}, {}, {}], [0.3, None, 0.4], 2),
        ([{}, {}, {}], [None, None, None], None),
        ([dict(Avg=float('nan')), dict(Avg=50.0), dict(Avg=49.0)], [0.9, 0.3, 0.4], 2),
        # Of an error less is better, and of a fraction two points are 0.02.
        ([dict(EPE=10.0), dict(EPE=10.1), dict(EPE=30.0)], [0.3, 0.4, 0.9], 1),
        ([dict(AUC=0.60), dict(AUC=0.59), dict(AUC=0.50)], [0.3, 0.4, 0.9], 1),
    ],
)
def test_setting_is_chosen_by_whatever_evidence_there_is(sources, consistency, chosen):
    runs = [
        evident(f'dan x={i}', value, **source)
        for i, (source, value) in enumerate(zip(sources, consistency))
    ]
    _, rows = table_of_evidence(runs)
    expected = [] if chosen is None else [f'dan x={chosen}']
    assert [row[0] for row in rows if row[-1]] == expected


def test_evidence_is_averaged_over_seeds():
    runs = [
        run(f'dan x={x}', seed, 0.0, 50.0, evidence=dict(confidence=0.5, consistency=c))
        for x, values in enumerate([(0.2, 0.4), (0.1, 0.6)])
        for seed, c in enumerate(values)
    ]
    _, rows = table_of_evidence(runs)
    assert [row[3] for row in rows] == ['30.00', '35.00']
    assert rows[1][-1] == 'chosen'
