//! Compares the soft engine's instructions with the host processor's.

fn main() -> std::process::ExitCode {
    #[cfg(target_arch = "x86_64")]
    return command::main();
    #[cfg(not(target_arch = "x86_64"))]
    {
        eprintln!("isa_fuzz compares with an x86-64 processor, and this is none");
        std::process::ExitCode::FAILURE
    }
}

#[cfg(target_arch = "x86_64")]
mod command {
    use soft_engine::probe::Tier;
    use std::io::{self, IsTerminal, Write};
    use std::path::PathBuf;
    use std::process::ExitCode;

    use clap::Parser;
    use isa_fuzz::forms::Form;
    use isa_fuzz::known::{self, Known};
    use isa_fuzz::{Host, blocks, run, sweep};
    use regex_lite::Regex;

    /// Compares the soft engine's instructions with the host processor's.
    #[derive(Parser)]
    struct Arguments {
        /// Only forms whose name (iced's Code) matches.
        #[arg(long, value_name = "REGEX", default_value = "")]
        forms: Regex,
        /// Only forms of a family: integer, vector, x87.
        #[arg(long, value_name = "NAME")]
        family: Option<String>,
        /// Cases for each form.
        #[arg(long, value_name = "N", default_value_t = 2000)]
        cases: u64,
        /// Seed of the first case; the others count up from it.
        #[arg(long, value_name = "S", default_value_t = 1)]
        seed: u64,
        /// Translates each instruction rather than interpreting it.
        #[arg(long)]
        jit: bool,
        /// Compares interpreter and translator with each other rather than with the host.
        #[arg(long, conflicts_with = "jit")]
        tiers: bool,
        /// Forms that may diverge on this processor: a list of regular expressions, each with its reason.
        #[arg(long, value_name = "FILE")]
        known: Option<PathBuf>,
        /// Executes so many blocks of instructions of all forms rather than single ones.
        #[arg(long, value_name = "N")]
        blocks: Option<u64>,
        /// Sweeps over all encodings of code of 64, 32 or 16 bits rather than forms.
        #[arg(long, value_name = "BITS", value_parser = parse_bits)]
        sweep: Option<u32>,
        /// Lists the forms, and those left out with the reason, and does nothing.
        #[arg(long)]
        list: bool,
    }

    pub fn main() -> ExitCode {
        let arguments = Arguments::parse();
        let outcome = match arguments.blocks {
            _ if arguments.list => list(),
            Some(blocks) => fuzz_blocks(blocks, arguments.seed),
            None => match arguments.sweep {
                Some(bits) => sweep_over(&arguments, bits),
                None => fuzz(arguments),
            },
        };
        match outcome {
            Ok(true) => ExitCode::SUCCESS,
            Ok(false) => ExitCode::FAILURE,
            Err(error) => {
                eprintln!("isa_fuzz: {error}");
                ExitCode::FAILURE
            }
        }
    }

    fn list() -> io::Result<bool> {
        let mut out = io::stdout().lock();
        for form in run::forms(&run::probe_vm()?) {
            match form {
                Ok(Form { code, family, offered }) => {
                    let offered = if offered { "" } else { " (not offered to guests)" };
                    writeln!(out, "{code:?}: {family}{offered}")?;
                }
                Err((code, reason)) => writeln!(out, "{code:?}: left out: {reason}")?,
            }
        }
        Ok(true)
    }

    fn fuzz_blocks(blocks: u64, seed: u64) -> io::Result<bool> {
        let plan = blocks::Plan { blocks, seed, host: Host::is_usable() };
        let on_terminal = io::stderr().is_terminal();
        let summary = blocks::run(&plan, |done, all| {
            if on_terminal {
                eprint!("\r{done} of {all} blocks");
            }
        })?;
        write!(io::stdout().lock(), "{summary}")?;
        Ok(summary.diverging == 0)
    }

    fn parse_bits(text: &str) -> Result<u32, String> {
        match text {
            "64" => Ok(64),
            "32" => Ok(32),
            "16" => Ok(16),
            _ => Err("64, 32 or 16".to_owned()),
        }
    }

    fn sweep_over(arguments: &Arguments, bits: u32) -> io::Result<bool> {
        let known = sweep::Known::list()?;
        let tier = if arguments.jit { Tier::Jit } else { Tier::Interpreter };
        let plan = sweep::Plan { bits, extent: sweep::Extent::Whole, one_of: 1, tier, known: &known };
        let summary = sweep::run(&plan)?;
        write!(io::stdout().lock(), "{summary}")?;
        Ok(summary.diverging == 0)
    }

    fn fuzz(arguments: Arguments) -> io::Result<bool> {
        if !arguments.tiers && !Host::is_usable() {
            return Err(io::Error::other(
                "the host's kernel does not let programs write FS's base (FSGSBASE)",
            ));
        }
        let Arguments { forms, family, cases, seed, jit, tiers, known, .. } = arguments;
        let known = known.map_or_else(|| Ok(Vec::new()), |path| Known::read(&path))?;
        let sides = match (tiers, jit) {
            (true, _) => run::Sides::Tiers,
            (_, true) => run::Sides::Host(Tier::Jit),
            _ => run::Sides::Host(Tier::Interpreter),
        };
        let wanted = move |form: Form| {
            let in_family = family.as_ref().is_none_or(|family| *family == form.family.to_string());
            in_family && forms.is_match(&format!("{:?}", form.code))
        };
        let workers = std::thread::available_parallelism().map_or(1, usize::from);
        let plan = run::Plan { wanted: Box::new(wanted), cases, seed, sides, workers };
        let on_terminal = io::stderr().is_terminal();
        let progress = |done: usize, all: usize| {
            if on_terminal {
                eprint!("\r{done} of {all} forms");
            }
        };
        let summary = run::run(&plan, progress)?;
        if on_terminal {
            eprintln!();
        }
        let (unknown, idle) = known::sort(&known, &summary.tallies);
        let mut out = io::stdout().lock();
        write!(out, "{summary}")?;
        for forms in idle {
            writeln!(out, "listed, but does not diverge: {forms}")?;
        }
        writeln!(out, "{unknown} cases diverge that are not listed")?;
        Ok(unknown == 0)
    }
}
