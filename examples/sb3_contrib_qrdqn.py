"""sb3-contrib: QR-DQN, which learns the distribution of returns.

pip install sb3-contrib
python examples/sb3_contrib_qrdqn.py [decisions]
"""

import sys

from comparison import compare, make
from sb3_contrib import QRDQN


def main(decisions: int = 50_000, days: float = 2.0) -> dict[str, float]:
    """Train, then compare with all machines on."""
    model = QRDQN(
        "MlpPolicy",
        make(),
        learning_rate=5e-4,
        gamma=0.99,
        learning_starts=min(1000, decisions // 4),
        train_freq=4,
        target_update_interval=1000,
        exploration_fraction=0.3,
        policy_kwargs={"n_quantiles": 25},
        seed=0,
    )
    model.learn(decisions)
    return compare(lambda seen: model.predict(seen, deterministic=True)[0], days)


if __name__ == "__main__":
    print(main(*map(int, sys.argv[1:])))
