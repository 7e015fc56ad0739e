"""Sequential and ModuleList, and how networks are shown."""

from collections import OrderedDict

import pytest

from fastnn import nn


def test_sequential_and_module_list():
    model = nn.Sequential(nn.Linear(2, 3), nn.ReLU())
    model.append(nn.Linear(3, 1))
    assert len(model) == 3 and isinstance(model[-1], nn.Linear) and isinstance(model[:2], nn.Sequential) and len(model[:2]) == 2
    named = nn.Sequential({"a": nn.ReLU(), "b": nn.Tanh()})
    assert isinstance(named.b, nn.Tanh)
    items = nn.ModuleList([nn.ReLU()])
    items.insert(0, nn.Tanh())
    items.extend([nn.Sigmoid()])
    assert [type(m).__name__ for m in items] == ["Tanh", "ReLU", "Sigmoid"]
    del items[1]
    assert [type(m).__name__ for m in items] == ["Tanh", "Sigmoid"]
    items[0] = nn.ReLU()
    assert isinstance(items[0], nn.ReLU)
    with pytest.raises(IndexError, match="index"):
        items[5]
    with pytest.raises(TypeError, match="module '0'"):
        nn.Sequential(3)
    with pytest.raises(TypeError, match="module"):
        items.append(3)


def test_repr_shows_the_structure():
    text = repr(nn.Sequential(nn.Linear(3, 2), nn.Dropout(0.1)))
    assert "(0): Linear(in_features=3, out_features=2, bias=True)" in text and "(1): Dropout(p=0.1, inplace=False)" in text


def test_repr_is_torchs():
    torch = pytest.importorskip("torch")

    def build(nn):
        class Block(nn.Module):
            def __init__(self):
                super().__init__()
                self.inner = nn.Sequential(nn.Linear(2, 2), nn.Sequential())

            def extra_repr(self):
                return "first\nsecond"

        class Leaf(nn.Module):
            def extra_repr(self):
                return "one\ntwo"

        return nn.Sequential(OrderedDict(a=Block(), b=Leaf(), c=nn.Module()))

    assert repr(build(nn)) == repr(build(torch.nn))


def test_containers_more():
    first, second = nn.ReLU(), nn.Tanh()
    items = nn.ModuleList([first])
    items += [second]
    items.extend(items)
    assert len(items) == 4 and list(items[-2:]) == [first, second] and isinstance(items[1:], nn.ModuleList)
    del items[1:3]
    assert list(items) == [first, second] and list(items._modules) == ["0", "1"]
    for wrong in (None, 3):
        with pytest.raises(TypeError, match="module"):
            items.insert(0, wrong)
        with pytest.raises(TypeError, match="module"):
            items[0] = wrong
        assert list(items) == [first, second]
    with pytest.raises(TypeError, match="index"):
        items["0"]
    with pytest.raises(TypeError, match="forward"):
        items(1)
    with pytest.raises(ValueError, match="taken"):
        nn.Sequential(OrderedDict({"1": first})).append(second)
