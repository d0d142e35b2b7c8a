"""Tables of results: mean and spread over seeds, by group of keypoints."""

from __future__ import annotations

from typing import Dict, List, Mapping, Optional, Sequence, Tuple

import numpy as np

Table = Tuple[List[str], List[List[str]]]


def by_domain(metrics: Mapping[str, float]) -> Dict[str, Dict[str, float]]:
    """PCK in percent: ``{'source': {'MCP': ...}, 'target': {...}}``.

    Args:
        metrics (Mapping[str, float]): As validation names them, such as
            ``source/PCK/MCP``, as fractions.
    """
    found: Dict[str, Dict[str, float]] = dict(source={}, target={})
    for name, value in metrics.items():
        domain, _, rest = name.partition('/')
        if rest.startswith('PCK/'):
            found.setdefault(domain, {})[rest[len('PCK/') :]] = round(100 * value, 2)
    return found


def published_averages(metrics: Mapping[str, float]) -> Dict[str, float]:
    """Avg of :class:`~mmregda.evaluation.PublishedPCK` in percent, by domain.

    Args:
        metrics (Mapping[str, float]): As in :func:`by_domain`.
    """
    found = {}
    for name, value in metrics.items():
        domain, _, rest = name.partition('/')
        if rest == 'PCK_published/Avg':
            found[domain] = round(100 * value, 2)
    return found


def spread(values: Sequence[float], sign: str = '') -> str:
    """Mean and sample standard deviation as text; a lone value has none."""
    if len(values) < 2:
        return f'{values[0]:{sign}.1f}'
    return f'{np.mean(values):{sign}.1f} ± {np.std(values, ddof=1):.1f}'


def table_of_methods(
    runs: Sequence[dict],
    domain: str = 'target',
    baselines: Sequence[str] = (),
    labels: Optional[Mapping[str, str]] = None,
) -> Table:
    """One row for each method, one column for each group of keypoints.

    Args:
        runs (Sequence[dict]): Each with ``method``, ``seed``, ``status``
            (``'done'`` or not) and, if done, PCK by group for each domain, as
            :func:`by_domain` gives it, and ``published``, as
            :func:`published_averages` does.
        domain (str): Whose PCK. Defaults to the target.
        baselines (Sequence[str]): Methods that others are compared with: the
            mean of the differences seed by seed becomes a column of each.
        labels (Mapping[str, str], optional): What to call the methods.

    Returns:
        tuple[list[str], list[list[str]]]: The head and the rows. A method of
        which some seeds failed says so, and its row is of the others.
    """
    done = [run for run in runs if run['status'] == 'done' and run[domain]]
    groups = list(done[0][domain]) if done else []
    # Runs of before this metric, or of a config without it, have none.
    published = bool(done) and all(domain in run.get('published', {}) for run in done)
    head = ['', *groups, *['Avg as published'] * published]
    references = {
        method: {r['seed']: r[domain]['Avg'] for r in done if r['method'] == method}
        for method in baselines
    }
    references = {method: found for method, found in references.items() if found}
    head += [f'over {method}' for method in references]
    rows = []
    for method in dict.fromkeys(run['method'] for run in runs):
        of_method = [run for run in runs if run['method'] == method]
        found = [run for run in done if run['method'] == method]
        label = (labels or {}).get(method, method)
        if len(found) < len(of_method):
            label += f' ({len(found)} of {len(of_method)} seeds)'
        if not found:
            rows.append([label] + ['failed'] * (len(head) - 1))
            continue
        row = [label, *(spread([run[domain][g] for run in found]) for g in groups)]
        if published:
            row.append(spread([run['published'][domain] for run in found]))
        for baseline, reference in references.items():
            gains = [
                run[domain]['Avg'] - reference[run['seed']]
                for run in found
                if run['seed'] in reference and method != baseline
            ]
            row.append(spread(gains, '+') if gains else '')
        rows.append(row)
    return head, rows


def table_of_evidence(runs: Sequence[dict], tolerance: float = 2.0) -> Table:
    """What may choose a method's settings: nothing that target labels know.

    Of each method's variants that one is marked as chosen whose predictions on
    the target are most consistent, among those whose accuracy on the source is
    at most ``tolerance`` points below the best variant's: a model that forgets
    the task can be as consistent as it likes. Where no source is validated,
    consistency alone chooses.

    Args:
        runs (Sequence[dict]): Each with ``method`` (a variant's name begins
            with its method's and a space), ``seed``, ``status`` and, if done,
            ``source`` and ``evidence``
            (:func:`~mmregda.evaluation.validators.consistency.label_free_evidence`).
        tolerance (float): In points of PCK. Defaults to 2.

    Returns:
        tuple[list[str], list[list[str]]]: The head and the rows, means over
        seeds. A variant of which a seed failed is not chosen.
    """
    means = {}
    for variant in dict.fromkeys(run['method'] for run in runs):
        of_variant = [run for run in runs if run['method'] == variant]
        if all(run['status'] == 'done' for run in of_variant):
            figures = [
                (
                    run['source'].get('Avg', np.nan),
                    100 * run['evidence']['confidence'],
                    100 * run['evidence']['consistency'],
                )
                for run in of_variant
            ]
            means[variant] = np.mean(figures, axis=0)
        else:
            means[variant] = None
    rows = []
    for variant, figures in means.items():
        if figures is None:
            rows.append([variant, 'failed', '', '', ''])
            continue
        rivals = [
            other
            for name, other in means.items()
            if other is not None and name.split()[0] == variant.split()[0]
        ]
        best = max(other[0] for other in rivals)
        able = [other for other in rivals if not other[0] < best - tolerance]
        chosen = len(rivals) > 1 and figures is max(able, key=lambda other: other[2])
        source = '' if np.isnan(figures[0]) else f'{figures[0]:.1f}'
        cells = [source, f'{figures[1]:.2f}', f'{figures[2]:.2f}']
        rows.append([variant, *cells, 'chosen' if chosen else ''])
    return ['', 'Avg on the source', 'confidence', 'consistency', ''], rows


def to_markdown(table: Table) -> str:
    """A table in Markdown, figures to the right."""
    head, rows = table
    rule = ['---'] + ['--:'] * (len(head) - 1)
    return '\n'.join(f'| {" | ".join(cells)} |' for cells in [head, rule, *rows])
