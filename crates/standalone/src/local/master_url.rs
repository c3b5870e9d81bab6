//! Parsing of the master URLs `local…` and `local-cluster[…]`.

use anymaster_core::{MasterUrl, Result};

use super::backend::INFO;

/// A parsed `local` or `local-cluster` master URL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Local {
    /// `local`, `local[N]`, `local[*]`, `local[N,F]`.
    Threads {
        /// How many cores executors may use at once.
        cores: Threads,
        /// The `F`: how many failures are tolerated. Spark's default is 1.
        max_failures: Option<u32>,
    },
    /// `local-cluster[n,c,m]`: workers as separate processes.
    Workers {
        /// Worker processes.
        count: u32,
        /// Cores of each.
        cores: u32,
        /// Memory of each in MiB.
        memory_mib: u64,
    },
}

/// The `N` of `local[N]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Threads {
    /// A number of cores, at least 1.
    Count(u32),
    /// `*`: as many as the machine has.
    All,
}

impl Threads {
    pub(super) fn count(self) -> u32 {
        match self {
            Self::Count(count) => count,
            Self::All => std::thread::available_parallelism().map_or(1, |n| n.get() as u32),
        }
    }
}

impl Local {
    /// Reads a master URL with the rules of Spark 3.5 (`SparkContext`): white space is allowed around
    /// the comma of `local[N,F]`, and around all numbers of `local-cluster`.
    ///
    /// # Errors
    /// [`InvalidSpec`](anymaster_core::ErrorKind::InvalidSpec), with the part at fault.
    pub(super) fn parse(url: &MasterUrl) -> Result<Self> {
        let inside = url.rest().strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        match (url.scheme(), url.rest(), inside) {
            ("local", _, _) if url.as_str() == "local" => {
                Ok(Self::Threads { cores: Threads::Count(1), max_failures: None })
            }
            ("local", _, Some(inside)) => threads(url, inside),
            ("local-cluster", _, Some(inside)) => workers(url, inside),
            _ => Err(url.unknown()),
        }
    }
}

fn threads(url: &MasterUrl, inside: &str) -> Result<Local> {
    let (cores, failures) = match inside.split_once(',') {
        None => (inside, None),
        Some((cores, failures)) => (cores.trim_end(), Some(failures.trim_start())),
    };
    let cores = match cores {
        "*" => Threads::All,
        digits => match number(url, digits, "a number of cores or *")? {
            0 => return Err(wrong(url, digits, "it must be at least 1")),
            count => Threads::Count(count),
        },
    };
    let max_failures =
        failures.map(|failures| number(url, failures, "a number of failures")).transpose()?;
    Ok(Local::Threads { cores, max_failures })
}

fn workers(url: &MasterUrl, inside: &str) -> Result<Local> {
    let parts: Vec<_> = inside.split(',').map(str::trim).collect();
    let [workers, cores, memory] = parts.as_slice() else { return Err(url.unknown()) };
    let positive = |text: &str, what| match number(url, text, what)? {
        0 => Err(wrong(url, text, "it must be at least 1")),
        number => Ok(number),
    };
    Ok(Local::Workers {
        count: positive(workers, "a number of workers")?,
        cores: positive(cores, "a number of cores")?,
        memory_mib: positive(memory, "an amount of memory in MiB")?.into(),
    })
}

fn number(url: &MasterUrl, text: &str, what: &str) -> Result<u32> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let number = digits.then(|| text.parse().ok()).flatten();
    number.ok_or_else(|| wrong(url, text, &format!("it is not {what}")))
}

fn wrong(url: &MasterUrl, part: &str, why: &str) -> anymaster_core::Error {
    INFO.with_example(url.scheme(), url.wrong(part, why))
}

#[cfg(test)]
mod tests {
    use anymaster_core::Registry;

    use super::*;
    use crate::local::LOCAL;

    #[test]
    fn every_form_is_read() {
        let masters = Registry::new().with(LOCAL);
        let forms = ["local", "local[1]", "local[4]", "local[*]", "local[4,3]", "local[* , 3]"];
        for url in forms.iter().chain(&["local-cluster[ 2, 1 , 1024 ]"]) {
            assert_eq!(masters.parse(url).unwrap().as_str(), *url);
        }
        let read = |url: &str| Local::parse(&url.parse().unwrap()).unwrap();
        let threads = |cores, max_failures| Local::Threads { cores, max_failures };
        assert_eq!(read("local"), threads(Threads::Count(1), None));
        assert_eq!(read("local[* , 3]"), threads(Threads::All, Some(3)));
        let workers = Local::Workers { count: 2, cores: 1, memory_mib: 1024 };
        assert_eq!(read("local-cluster[ 2, 1 , 1024 ]"), workers);
    }

    #[test]
    fn errors_show_the_part_at_fault_and_what_to_write() {
        let masters = Registry::new().with(LOCAL);
        for (url, part, hint) in [
            ("", "could not parse", "known forms: local"),
            ("locla[2]", "could not parse", "did you mean local"),
            ("local[2", "could not parse", "did you mean local"),
            ("local(2)", "could not parse", "did you mean local"),
            ("local://2", "could not parse", "did you mean local"),
            (" local", "could not parse", ""),
            ("LOCAL", "could not parse", "did you mean local"),
            ("local[0]", "\"0\": it must be at least 1", "local[4]"),
            ("local[ 2]", "\" 2\": it is not a number of cores", "local[4]"),
            ("local[two]", "\"two\"", "local[4]"),
            ("local[2,]", "\"\": it is not a number of failures", "local[4,3]"),
            ("local-cluster[2,1]", "could not parse", "local-cluster[2,1,1024]"),
            ("local-cluster[0,1,1]", "\"0\": it must be", "local-cluster"),
        ] {
            let error = masters.parse(url).expect_err(url);
            let (message, said) = (error.message(), error.hint().unwrap_or(""));
            assert!(message.contains(part), "{url}: {message}");
            assert!(said.contains(hint), "{url}: {said}");
        }
    }
}
