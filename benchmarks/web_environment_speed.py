"""Speed of the WebArena-style environment: live steps per second, pages rendered, ids renewed and scores included.

    python benchmarks/web_environment_speed.py [--episodes N]

Plays the experts on evaluation tasks, on one thread. Counts everything an episode costs: fresh sites, every page, the
score. Prints steps per second of wall-clock and of processor time; on a busy machine only the latter says something.
Exit code 1 if processor time misses 500 steps per second.
"""

from __future__ import annotations

import argparse
import sys
import time

from tasks.webarena.demos import replay
from tasks.webarena.generator import generate

TARGET = 500.0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--episodes", type=int, default=400)
    episodes = parser.parse_args().episodes
    tasks = generate("evaluation", 50)
    jobs = [(tasks[number % len(tasks)], "ab"[number % 2], number) for number in range(episodes)]
    replay(*jobs[0][:2], 0, 0)  # templates and selectors are compiled at first use
    begun, worked = time.perf_counter(), time.process_time()
    demos = [replay(task, mix, 0, number) for task, mix, number in jobs]
    wall, processor = time.perf_counter() - begun, time.process_time() - worked
    steps = sum(len(demo["steps"]) for demo in demos if demo)
    rate = steps / processor
    print(f"{episodes} episodes, {steps} steps of the experts, expert and demonstration record included")
    print(f"wall clock      {steps / wall:8.0f} steps per second")
    print(f"processor time  {rate:8.0f} steps per second   target >= {TARGET:g}")
    return int(rate < TARGET)


if __name__ == "__main__":
    sys.exit(main())
