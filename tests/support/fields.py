"""The fields of a run, for tests of expressions over them."""

RUN = {
    "loss": "hinge",
    "final_loss": 5e-4,
    "status": "stationary",
    "certified": True,
    "depth": 3,
    "P": 200,
    "N": 80,
    "seed": None,
    "batch_norm": False,
    "certificate": {"n_cusps": 7, "obstacle": None},
    "finish": None,
}
