"""Lines of an image, compiled just in time: padded and taken apart by the phases of a stride, so that what neighbouring windows or
output pixels meet is a run of neighbours; and put together again.
"""

from .numba_support import helper
from .numba_vectors import at, evens, high_pairs, lanes, load, load_part, low_pairs, splat, store, store_part


@helper
def fill(target, begin, end, value):
    """target[begin:end] = value"""
    vector = splat(value)
    for j in range(begin, end, lanes(target)):
        store_part(target, j, vector, end - j)


@helper
def copy_run(target, source, count):
    """target[:count] = source[:count]"""
    size = lanes(target)
    j = 0
    while j + size <= count:
        store(target, j, load(source, j))
        j += size
    if j < count:
        store_part(target, j, load_part(source, j, count - j), count - j)


@helper
def _copy_evens(target, source, count):
    """target[j] = source[2 j]"""
    size = lanes(target)
    j = 0
    while j + size < count:  # the last one would read an element too many
        store(target, j, evens(load(source, 2 * j), load(source, 2 * j + size)))
        j += size
    rest = 2 * (count - j) - 1
    if rest > 0:
        pair = evens(load_part(source, 2 * j, rest), load_part(source, 2 * j + size, rest - size))
        store_part(target, j, pair, count - j)


@helper
def spread_line(source, width, before, stride, length, filler, line):
    """line[phase * length + j] = source[j * stride + phase - before], ``filler`` outside of the width; ``before`` has any sign."""
    for phase in range(stride):
        target, first = phase * length, phase - before
        begin = min(length, max(0, (stride - 1 - first) // stride))
        end = max(begin, min(length, (width - 1 - first) // stride + 1))
        fill(line, target, target + begin, filler)
        place = first + begin * stride
        if stride == 1:
            copy_run(at(line, target + begin), at(source, place), end - begin)
        elif stride == 2:
            _copy_evens(at(line, target + begin), at(source, place), end - begin)
        else:
            for j in range(end - begin):
                line[target + begin + j] = source[place + j * stride]
        fill(line, target + end, target + length, filler)


@helper
def join_phases(phases, stride, length, count, line):
    """line[j * stride + phase] = phases[phase * length + j] for j < count, and perhaps more of the line, up to a vector's lanes."""
    size = lanes(line)
    if stride == 1:
        copy_run(line, phases, count)
    elif stride == 2:
        for j in range(0, count, size):
            even, odd = load(phases, j), load(phases, length + j)
            store(line, 2 * j, low_pairs(even, odd))
            store(line, 2 * j + size, high_pairs(even, odd))
    else:
        for phase in range(stride):
            for j in range(count):
                line[j * stride + phase] = phases[phase * length + j]
