"""What containers, job schedulers' groups and SLURM allow, from files as Linux writes them."""

import psutil
import pytest

from napari_deblur import limits, system

GB = 10**9


@pytest.fixture
def linux(tmp_path, monkeypatch):
    """Files in place of the kernel's; a function that writes some of them."""
    for name in ("SLURM_MEM_PER_NODE", "SLURM_MEM_PER_CPU", "SLURM_CPUS_ON_NODE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.delenv("SLURM_CPUS_PER_TASK", raising=False)
    monkeypatch.setattr(limits, "CGROUP", tmp_path / "cgroup")
    monkeypatch.setattr(limits, "OWN", tmp_path / "own")

    def write(own, **files):
        (tmp_path / "own").write_text(own)
        for name, text in files.items():
            folder, _, file = name.replace("__", "/").rpartition("/")
            path = tmp_path / "cgroup" / folder / file.replace("_", ".", 1)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"{text}\n")

    return write


def test_a_container_limits_memory_and_cores(linux):
    linux("0::/\n", memory_max=5_000_000, memory_current=4_000_000, cpu_max="100000 100000")
    assert system.cores() == 1
    assert system.available_memory() == 1_000_000
    linux("0::/\n", memory_max="max", cpu_max="max 100000")
    assert limits.memory() is limits.cores() is None
    assert system.available_memory() > 1_000_000


def test_the_groups_around_a_job_count_and_the_tightest_holds(linux):
    linux(
        "0::/slurm/job_5/step_0\n",
        slurm__memory_max="max", slurm__memory_current=90 * GB, slurm__cpu_max="1600000 100000",
        slurm__job_5__memory_max=2 * GB, slurm__job_5__memory_current=GB // 2,
        slurm__job_5__step_0__memory_max="max", slurm__job_5__step_0__memory_current=GB // 2,
        slurm__job_5__cpu_max="200000 100000",
    )  # fmt: skip
    assert limits.memory() == 1.5 * GB
    assert limits.cores() == 2


def test_files_that_are_kept_in_memory_make_room(linux):
    """Else a job that has read a stack of its own size would have nothing left."""
    linux(
        "0::/\n", memory_max=8 * GB, memory_current=7_900_000_000,
        memory_stat=f"anon {GB}\ninactive_file {5 * GB}\nactive_file {GB}\nshmem 7",
    )  # fmt: skip
    assert limits.memory() == 6_100_000_000


def test_memory_from_which_on_a_group_is_slowed_counts_as_its_limit(linux):
    linux("0::/\n", memory_max=8 * GB, memory_high=3 * GB, memory_current=GB)
    assert limits.memory() == 2 * GB


def test_a_container_may_see_the_path_of_the_host(linux):
    linux("0::/docker/0123\n", memory_max=3 * GB, memory_current=GB)
    assert limits.memory() == 2 * GB


def test_groups_of_version_1(linux):
    linux(
        "11:memory:/slurm/job_5\n4:cpu,cpuacct:/slurm/job_5\n1:name=systemd:/\n",
        **{
            "memory__memory_limit_in_bytes": 2**63 - 4096,
            "memory__memory_usage_in_bytes": 90 * GB,
            "memory__slurm__job_5__memory_limit_in_bytes": 4 * GB,
            "memory__slurm__job_5__memory_usage_in_bytes": 3 * GB,
            "memory__slurm__job_5__memory_stat": f"total_inactive_file {GB}",
            "cpu,cpuacct__slurm__job_5__cpu_cfs_quota_us": 300_000,
            "cpu,cpuacct__slurm__job_5__cpu_cfs_period_us": 100_000,
            "cpu,cpuacct__cpu_cfs_quota_us": -1,
            "cpu,cpuacct__cpu_cfs_period_us": 100_000,
        },
    )
    assert limits.memory() == 2 * GB
    assert limits.cores() == 3


def test_what_slurm_says_holds_where_no_group_enforces_it(linux, monkeypatch):
    linux("0::/\n")
    own = psutil.Process().memory_info().rss
    monkeypatch.setattr(limits, "_own", lambda: own)
    monkeypatch.setenv("SLURM_MEM_PER_NODE", "6000")
    assert limits.memory() == 6000 * 2**20 - own
    monkeypatch.setenv("SLURM_MEM_PER_NODE", "0")  # all of the node
    assert limits.memory() is None
    monkeypatch.setenv("SLURM_MEM_PER_CPU", "2000")
    monkeypatch.setenv("SLURM_CPUS_ON_NODE", "8")
    assert limits.memory() == 16_000 * 2**20 - own
    assert limits.cores() == 8
    monkeypatch.setenv("SLURM_MEM_PER_CPU", "1")  # less than is in use
    assert system.available_memory() == 0


def test_what_a_process_holds_is_known():
    assert limits._own() >= psutil.Process().memory_info().rss // 2


def test_no_linux_is_no_limit(tmp_path, monkeypatch, linux):
    assert limits.memory() is limits.cores() is None
