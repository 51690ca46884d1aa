//! Compares what is known of Go's structures, and gRPC's, with the debugging information of programs:
//! `GOTOOLCHAIN=go1.27.0 go build -o FILE .`, then `cargo run --example go_layout -- FILE...`.

use std::path::Path;

use anyhow::{Context as _, ensure};
use geophone::runtime::{Image, go};

fn main() -> anyhow::Result<()> {
    for file in std::env::args().skip(1) {
        let image = Image::open(Path::new(&file))?.context("no program of this machine")?;
        let layouts = go::layouts(&image)?.context("not made by Go")?;
        let (version, (table, debugging)) = (layouts.version, layouts.go);
        let debugging = debugging.with_context(|| format!("{file} has no debugging information"))?;
        ensure!(table == debugging, "{file}, {version}: the table says {table:?}, the program {debugging:?}");
        let (table, debugging) = layouts.grpc;
        ensure!(table == debugging, "{file}: of gRPC, the table says {table:?}, the program {debugging:?}");
        println!("{file}: {version}: the same{}", if table.is_some() { ", with gRPC" } else { "" });
    }
    Ok(())
}
