"""Devices that were measured, or agreed upon, by name; facts of aihwkit's presets."""

from typing import NamedTuple

from qjax.devices.device import Device
from qjax.devices.steps import (
    ConstantStep,
    ExpStep,
    LinearStep,
    SoftBoundsReference,
)
from qjax.devices.upkeep import Upkeep

__all__ = ["PRESETS", "Preset"]


class Preset(NamedTuple):
    """A device, with what it is and whose.

    Attributes:
      device: model with numbers.
      about: one line: what it is.
      source: the paper.
      write_noise_std: what a weight shows beside what it is, in units of dw_min.
      upkeep: what happens between pulses.
    """

    device: Device
    about: str
    source: str
    write_noise_std: float = 0.0
    upkeep: Upkeep = Upkeep()


_GONG_2018 = ("Gong et al. 2018, Signal and noise extraction from analog memory elements for "
              "neuromorphic computing, Nat. Commun. 9:2102")
_GONG_2022 = ("Gong, Rasch et al. 2022, Deep learning acceleration in 14nm CMOS compatible ReRAM "
              "array, IEDM")
_GOKMEN_2016 = ("Gokmen and Vlasov 2016, Acceleration of deep neural network training with "
                "resistive cross-point devices, Front. Neurosci. 10:333")

PRESETS: dict[str, Preset] = {
    "reram_es": Preset(
        ExpStep(dw_min=0.00135, dw_min_dtod=0.2, dw_min_std=5.0, up_down=0.259359,
                up_down_dtod=0.05, w_max=1.0, w_min=-1.0, A_up=-1.18445, A_down=-0.081404,
                gamma_up=5.0, gamma_down=5.0, a=-0.5, b=-0.5),
        "ReRAM (HfO2), exponential steps", _GONG_2018, write_noise_std=75.0),
    "reram_sb": Preset(
        SoftBoundsReference(dw_min=0.002, dw_min_std=3.75, w_max=1.25, w_min=-0.75,
                            w_max_dtod=0.24, w_min_dtod=0.4),
        "ReRAM (HfO2), soft bounds", _GONG_2018, write_noise_std=56.0),
    "capacitor": Preset(
        LinearStep(dw_min=0.005, dw_min_dtod=0.1, up_down_dtod=0.06, w_max=1.0, w_min=-1.0,
                   w_max_dtod=0.07, w_min_dtod=0.07, gamma_up=0.05, gamma_down=0.05,
                   gamma_up_dtod=0.01, gamma_down_dtod=0.01, mult_noise=0),
        "capacitor of a CMOS cell, leaking",
        "Li et al. 2018, Capacitor-based cross-point array for analog neural network with record "
        "symmetry and linearity, VLSI", upkeep=Upkeep(lifetime=1e6, lifetime_dtod=0.3)),
    "ecram": Preset(
        LinearStep(dw_min=0.002, dw_min_dtod=0.1, w_max=1.1724, w_min=-0.8276, w_max_dtod=0.05,
                   w_min_dtod=0.05, gamma_up=0.1153, gamma_down=0.5085),
        "electrochemical RAM (Li)",
        "Tang et al. 2018, ECRAM as scalable synaptic cell for high-speed, low-power neuromorphic "
        "computing, IEDM"),
    "ecram_mo": Preset(
        LinearStep(dw_min=2.8214e-4, dw_min_dtod=0.1, dw_min_std=2.0, w_max=1.1714,
                   w_min=-0.8286, w_max_dtod=0.05, w_min_dtod=0.05, gamma_up=0.4152,
                   gamma_down=0.7342),
        "electrochemical RAM (metal oxide)",
        "Kim et al. 2019, Metal-oxide based, CMOS-compatible ECRAM for deep learning accelerator, "
        "IEDM"),
    "idealized": Preset(
        ConstantStep(dw_min=0.0002, up_down_dtod=0.0, w_max=1.0, w_min=-1.0),
        "constant steps, many states", _GOKMEN_2016),
    "gokmen_vlasov": Preset(
        ConstantStep(dw_min=0.0016, w_max=1.0, w_min=-1.0),
        "constant steps, as a device would need them", _GOKMEN_2016),
    "pcm": Preset(
        ExpStep(dw_min=0.01, dw_min_dtod=0.2, dw_min_std=0.6, up_down_dtod=0.05, w_max=2.0,
                w_min=0.0, w_max_dtod=0.1, w_min_dtod=0.0, A_up=-27.235, A_down=-2.235,
                gamma_up=2.5, gamma_down=2.5, a=-1.0, b=0.0, dw_min_std_add=0.042,
                dw_min_std_slope=0.108),
        "phase change memory, one direction only: for pairs",
        "Nandakumar et al. 2020, Mixed-precision deep learning based on computational memory, "
        "Front. Neurosci. 14:406", upkeep=Upkeep(reset=0.01, reset_dtod=0.02)),
    "reram_array_om": Preset(
        SoftBoundsReference(dw_min=0.0949, dw_min_dtod=0.7829, dw_min_dtod_log_normal=1,
                            dw_min_std=0.4158, w_max=1.0, w_min=-1.0, w_max_dtod=0.3499,
                            w_min_dtod=0.5695, corrupt_devices_range=0.01, reference_std=0.05,
                            subtract_symmetry_point=1),
        "ReRAM array, optimized material", _GONG_2022, write_noise_std=1.4113),
    "reram_array_hfo2": Preset(
        SoftBoundsReference(dw_min=0.4622, dw_min_dtod=0.7125, dw_min_dtod_log_normal=1,
                            dw_min_std=0.2174, w_max=1.0, w_min=-1.0, w_max_dtod=0.4295,
                            w_min_dtod=0.5990, corrupt_devices_range=0.01, reference_std=0.05,
                            subtract_symmetry_point=1),
        "ReRAM array, HfO2", _GONG_2022, write_noise_std=0.5841),
}
