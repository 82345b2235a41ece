//! Arguments in, exit status out.

fn main() -> ! {
    chancery::cli::run()
}
