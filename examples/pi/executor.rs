//! An executor: one thread and one connection per core; each asks for work until there is none.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;

use anymaster::ExecutorContext;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use crate::Outcome;
use crate::protocol::{Hello, Hits, Unit};

/// Works until the driver closes the connection.
pub(crate) fn run(context: &ExecutorContext) -> Outcome {
    std::thread::scope(|scope| {
        let threads: Vec<_> =
            (0..context.cores() as u64).map(|_| scope.spawn(|| work(context))).collect();
        threads.into_iter().try_for_each(|thread| thread.join().unwrap_or_else(|_| Ok(())))
    })
}

fn work(context: &ExecutorContext) -> Outcome {
    let mut driver = TcpStream::connect((context.host(), context.port()))?;
    driver.set_nodelay(true)?;
    let secret = context.secret().expose().to_owned();
    send(&mut driver, &Hello { executor: context.id().0, secret })?;
    for line in BufReader::new(driver.try_clone()?).lines() {
        let unit: Unit = serde_json::from_str(&line?)?;
        send(&mut driver, &Hits { hits: throw(unit) })?;
    }
    Ok(())
}

fn send(driver: &mut TcpStream, message: &impl serde::Serialize) -> Outcome {
    let mut line = serde_json::to_vec(message)?;
    line.push(b'\n');
    Ok(driver.write_all(&line)?)
}

/// How many darts, thrown into a square, fall into the circle in it.
fn throw(Unit { seed, darts }: Unit) -> u64 {
    let mut random = SmallRng::seed_from_u64(seed);
    let inside = |_: &u64| {
        let (x, y): (f64, f64) = (random.random(), random.random());
        x * x + y * y <= 1.0
    };
    (0..darts).filter(inside).count() as u64
}
