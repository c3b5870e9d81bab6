//! Any line (here a word on each) is a submission, or an error that says why; what it means can be shown.

#![no_main]

use std::sync::LazyLock;

use anymaster::Registry;
use anymaster_spark::{Environment, parse, parsed_arguments, resolve};

static MASTERS: LazyLock<Registry> = LazyLock::new(anymaster::registry);

libfuzzer_sys::fuzz_target!(|words: &str| {
    let line: Vec<_> = words.split('\n').map(str::to_owned).collect();
    let Ok(args) = parse(&line) else { return };
    let environment = Environment { current_dir: "/work".into(), ..Environment::default() };
    // A line may name any file of this machine as its properties.
    if args.value("--properties-file").is_some() {
        return;
    }
    if let Ok(submission) = resolve(&args, &environment, &MASTERS) {
        assert!(!parsed_arguments(&args, &submission).is_empty());
    }
});
