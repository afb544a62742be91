"""Flags of configurations: every field has one, with its default and what its docstring says."""

import dataclasses

import pytest
from absl import flags

from dsf_jax.training.config import TrainConfig
from launch import shared_flags


def test_every_field_of_a_configuration_has_its_flag(monkeypatch):
    monkeypatch.setattr(flags, "FLAGS", own := flags.FlagValues())
    for kind, define in shared_flags._DEFINE.items():
        monkeypatch.setitem(
            shared_flags._DEFINE, kind, lambda *args, f=define: f(*args, flag_values=own)
        )
    define_enum = flags.DEFINE_enum
    monkeypatch.setattr(flags, "DEFINE_enum", lambda *args: define_enum(*args, flag_values=own))
    shared_flags.define_flags(TrainConfig)
    for field in dataclasses.fields(TrainConfig):
        flag = own[field.name]
        assert flag.default == field.default and type(flag.default) is type(field.default)
        assert len(flag.help) > 5 and "\n" not in flag.help
    assert set(own) == {field.name for field in dataclasses.fields(TrainConfig)}
    own(["x", "--epochs=3", "--train_layers=fc", "--cached_views=2"])
    expected = TrainConfig(epochs=3, train_layers="fc", cached_views=2)
    assert shared_flags.config_from_flags(TrainConfig) == expected


def test_a_field_without_a_word_of_help_is_refused():
    @dataclasses.dataclass
    class Silent:
        """Tells of one field.

        Attributes:
          told: in two
            lines.
        """

        told: int = 1
        untold: int = 2

    assert shared_flags.field_help(Silent) == {"told": "in two lines."}
    with pytest.raises(KeyError, match="untold"):
        shared_flags.define_flags(Silent)
