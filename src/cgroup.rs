//! How much memory the system lets this process use, and how much its control group uses.
//!
//! Both versions of control groups, nested: the smallest limit of the group and its ancestors holds.
//! Where no group limits anything, the machine does.

use std::path::{Path, PathBuf};

/// The memory that this process and all that share its group may use; `None` where it cannot be
/// known.
pub(crate) fn usable_bytes() -> Option<u64> {
    let machine = read(Path::new("/proc/meminfo")).and_then(|text| total(&text));
    let group = Group::here().and_then(|group| group.limit());
    machine.into_iter().chain(group).min()
}

/// What the group uses, page cache included.
#[derive(Clone, Debug)]
pub(crate) struct Usage(PathBuf);

impl Usage {
    /// That of this process's group, if there is one.
    pub(crate) fn here() -> Option<Self> {
        let group = Group::here()?;
        let file = match group.version {
            Version::One => "memory.usage_in_bytes",
            Version::Two => "memory.current",
        };
        Some(Self(group.directory.join(file)))
    }

    /// The bytes used now.
    pub(crate) fn bytes(&self) -> Option<u64> {
        number(&self.0)
    }
}

/// A memory control group.
#[derive(Debug, PartialEq, Eq)]
struct Group {
    version: Version,
    directory: PathBuf,
    /// Where the hierarchy is mounted, as far as we see it.
    top: PathBuf,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    One,
    Two,
}

impl Group {
    /// The group of this process.
    fn here() -> Option<Self> {
        let groups = read(Path::new("/proc/self/cgroup"))?;
        let mounts = read(Path::new("/proc/self/mountinfo"))?;
        let found = Self::find(&groups, &mounts)?;
        // Without a namespace of its own a container sees its group's name, but only its mount.
        let directory = match found.directory.is_dir() {
            true => found.directory,
            false => found.top.clone(),
        };
        Some(Self { directory, ..found })
    }

    /// From the lines of cgroups(7) and proc_pid_mountinfo(5). Version 1 where memory is still one of
    /// its controllers: the other hierarchy then has none.
    fn find(groups: &str, mounts: &str) -> Option<Self> {
        let named = |is_wanted: &dyn Fn(&str) -> bool| {
            groups.lines().find_map(|line| {
                let (_, rest) = line.split_once(':')?;
                let (controllers, path) = rest.split_once(':')?;
                is_wanted(controllers).then_some(path)
            })
        };
        let memory = |list: &str| list.split(',').any(|name| name == "memory");
        let (version, path) = match named(&memory) {
            Some(path) => (Version::One, path),
            None => (Version::Two, named(&str::is_empty)?),
        };
        let (root, top) = mounts.lines().find_map(|line| {
            let (mount, system) = line.split_once(" - ")?;
            let mut system = system.split(' ');
            let is_it = match (version, system.next()?) {
                (Version::One, "cgroup") => memory(system.nth(1)?),
                (Version::Two, "cgroup2") => true,
                _ => false,
            };
            let mut mount = mount.split(' ').skip(3);
            is_it.then_some((mount.next()?, mount.next()?))
        })?;
        let below = Path::new(path).strip_prefix(root).unwrap_or(Path::new(""));
        Some(Self {
            version,
            directory: Path::new(top).join(below),
            top: top.into(),
        })
    }

    /// The smallest limit of the group and those that it is in; `None` where there is none.
    fn limit(&self) -> Option<u64> {
        // Above `memory.high` a group is slowed down so much that it is as good as the end.
        let files: &[&str] = match self.version {
            Version::One => &["memory.limit_in_bytes"],
            Version::Two => &["memory.max", "memory.high"],
        };
        self.directory
            .ancestors()
            .take_while(|directory| directory.starts_with(&self.top))
            .flat_map(|directory| files.iter().map(|file| directory.join(file)))
            .filter_map(|file| number(&file))
            .min()
    }
}

/// What a file holds, if it is a number; `max` is none.
fn number(file: &Path) -> Option<u64> {
    read(file)?.trim().parse().ok()
}

fn read(file: &Path) -> Option<String> {
    std::fs::read_to_string(file).ok()
}

/// `MemTotal` of proc_meminfo(5), in bytes.
fn total(text: &str) -> Option<u64> {
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_group_is_found_where_it_is_mounted() {
        let two = "30 23 0:28 / /sys/fs/cgroup rw,relatime shared:4 - cgroup2 cgroup2 rw\n";
        let container = "30 23 0:28 /pod/a /sys/fs/cgroup ro - cgroup2 cgroup rw\n";
        let one = "31 23 0:1 / /cpu rw - cgroup cgroup rw,cpu\n\
                   35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
                   41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";
        let cases = [
            ("0::/", two, Version::Two, "/sys/fs/cgroup"),
            (
                "0::/a.slice/b",
                two,
                Version::Two,
                "/sys/fs/cgroup/a.slice/b",
            ),
            ("0::/pod/a/x", container, Version::Two, "/sys/fs/cgroup/x"),
            ("0::/elsewhere", container, Version::Two, "/sys/fs/cgroup"),
            (
                "4:cpu,memory:/a\n0::/",
                one,
                Version::One,
                "/sys/fs/cgroup/memory/a",
            ),
        ];
        for (groups, mounts, version, directory) in cases {
            let found = Group::find(groups, mounts).unwrap();
            let expected = (version, Path::new(directory));
            assert_eq!(
                (found.version, found.directory.as_path()),
                expected,
                "{groups}"
            );
        }
        assert_eq!(Group::find("0::/", ""), None);
        assert_eq!(Group::find("", two), None);
    }

    #[test]
    fn the_smallest_limit_of_all_ancestors_holds() {
        let top = std::env::temp_dir().join(format!("hipache-cgroup-{}", std::process::id()));
        let directory = top.join("a/b");
        std::fs::create_dir_all(&directory).unwrap();
        let group = |version| Group {
            version,
            directory: directory.clone(),
            top: top.clone(),
        };
        let write = |file: &str, text: &str| std::fs::write(top.join(file), text).unwrap();
        assert_eq!(group(Version::Two).limit(), None);
        for (file, text, limit) in [
            ("a/b/memory.max", "max\n", None),
            ("memory.max", "9000\n", Some(9000)),
            ("a/memory.max", "5000\n", Some(5000)),
            ("a/b/memory.max", "7000\n", Some(5000)),
            ("a/b/memory.high", "4000\n", Some(4000)),
        ] {
            write(file, text);
            assert_eq!(group(Version::Two).limit(), limit, "{file} {text}");
        }
        write("a/memory.limit_in_bytes", "6000\n");
        write("a/b/memory.limit_in_bytes", "9223372036854771712\n");
        assert_eq!(group(Version::One).limit(), Some(6000));
        std::fs::remove_dir_all(top).unwrap();
    }

    #[test]
    fn the_machine_limits_what_no_group_does() {
        assert_eq!(
            total("MemTotal:       24 kB\nMemFree: 1 kB\n"),
            Some(24 * 1024)
        );
        assert_eq!(total("MemFree: 1 kB\n"), None);
        let usable = usable_bytes().unwrap();
        let machine = total(&read(Path::new("/proc/meminfo")).unwrap()).unwrap();
        assert!(usable > 1 << 20 && usable <= machine, "{usable}");
    }
}
