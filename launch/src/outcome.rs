//! A measurement as people read it.

use std::fmt::Write as _;

use fulcrum_common::{
    bench::{Network, Report},
    plan::{Precision, Strategy, Wire},
};

use crate::{
    progress::thousands,
    table::{number, table},
};

/// What was measured, and what came of it.
pub(crate) fn render(report: &Report) -> String {
    let mut text = headline(report);
    let mut rows = table(["", ""]);
    let mut row = |what: &str, value: String| {
        rows.add_row(vec![what.into(), number(value)]);
    };
    if let Some(network) = &report.network {
        row("tokens/s", thousands(network.tokens_per_s.round() as u64));
        row("examples/s", format!("{:.1}", network.examples_per_s));
        if let Some(mfu) = network.mfu {
            row("model FLOPs utilization", format!("{:.1} %", 100.0 * mfu));
        }
    }
    if let Some(traffic) = &report.traffic {
        row("tensor, GB/s", format!("{:.2}", traffic.gb_per_s));
        row("bus, GB/s", format!("{:.2}", traffic.bus_gb_per_s));
    }
    row("step, median", seconds(report.step_s));
    let quantiles = &report.quantiles;
    for (share, value) in [("10", quantiles.p10), ("90", quantiles.p90), ("99", quantiles.p99)] {
        row(&format!("  {share} % of steps within"), seconds(value));
    }
    if let Some(split) = &report.split {
        for (part, value) in [
            ("data", split.data),
            ("forward", split.forward),
            ("backward", split.backward),
            ("waiting for others", split.communication),
            ("optimizer", split.optimizer),
        ] {
            row(&format!("  {part}"), seconds(value));
        }
    }
    if let Some(stall) = report.checkpoint_stall_s {
        row("held up by a checkpoint", seconds(stall));
    }
    row("peak memory, MiB by rank", mebibytes(&report.peak_rss_mib));
    if let Some(device) = &report.device_memory_mib {
        row("of the device", mebibytes(device));
    }
    let _ = writeln!(text, "{}", rows.to_string().lines().skip(2).collect::<Vec<_>>().join("\n"));
    text
}

fn headline(report: &Report) -> String {
    let plural = |count: usize, one: &str| format!("{count} {one}{}", if count == 1 { "" } else { "s" });
    let (ranks, threads) = (plural(report.world, "rank"), plural(report.threads, "thread"));
    let place = match &report.device_name {
        Some(name) => format!("{} ({name})", report.device),
        None => report.device.clone(),
    };
    let what = match (&report.network, &report.traffic) {
        (Some(network), _) => of_network(network),
        (None, Some(traffic)) => format!(" of {} MiB", traffic.mib),
        (None, None) => String::new(),
    };
    format!("{}{what}: {ranks}, {threads} each, {place}; {} steps\n\n", report.bench, report.steps)
}

fn of_network(network: &Network) -> String {
    let Network { model, head, parameters, batch, seq, .. } = network;
    let precision = if network.precision == Precision::Bf16 { ", bf16" } else { "" };
    let wire = if network.wire == Wire::Bf16 { ", bf16 on the wire" } else { "" };
    let strategy = match network.strategy {
        Strategy::Data => String::new(),
        Strategy::Zero1 => ", ZeRO-1".to_owned(),
        Strategy::Sharded => ", sharded".to_owned(),
        Strategy::Hybrid { shards } => format!(", sharded by {shards}"),
    };
    let overlap = if network.overlap { "" } else { ", without overlap" };
    let millions = *parameters as f64 / 1e6;
    format!(
        " {model} ({head}, {millions:.1} M parameters{precision}{wire}{strategy}{overlap}), {batch} x {seq} tokens a rank"
    )
}

fn seconds(seconds: f64) -> String {
    if seconds < 1.0 { format!("{:.1} ms", seconds * 1e3) } else { format!("{seconds:.2} s") }
}

fn mebibytes(by_rank: &[f64]) -> String {
    let words: Vec<String> = by_rank.iter().map(|mib| thousands(mib.round() as u64)).collect();
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(json: serde_json::Value) -> Report {
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn a_training_is_told_with_its_parts() {
        let text = render(&report(serde_json::json!({
            "bench": "train", "world": 2, "threads": 1, "device": "cpu", "device_name": "AMD EPYC", "steps": 20,
            "warmup": 3, "model": "gpt2-30m", "head": "classifier", "parameters": 30_343_680, "batch": 8, "seq": 128,
            "precision": "bf16", "wire": "bf16", "strategy": {"hybrid": {"shards": 2}}, "overlap": false, "examples_per_s": 8.72, "tokens_per_s": 1116.2,
            "mfu": null, "step_s": 1.835, "quantiles": {"p10": 1.8, "p50": 1.835, "p90": 1.9, "p99": 2.0},
            "split": {"data": 0.001, "forward": 0.5, "backward": 1.0, "communication": 0.01, "optimizer": 0.3},
            "loss": {"first": 0.7, "last": 0.1}, "peak_rss_mib": [2154.0, 2150.4], "device_memory_mib": null
        })));
        let expected = "train gpt2-30m (classifier, 30.3 M parameters, bf16, bf16 on the wire, sharded by 2, without overlap), 8 x 128 \
                        tokens a rank: 2 ranks, 1 thread each, cpu (AMD EPYC); 20 steps\n";
        assert!(text.starts_with(expected), "{text}");
        for line in ["tokens/s", "1,116", "1.83 s", "1.0 ms", "waiting for others", "2,154 2,150"] {
            assert!(text.contains(line), "{line} in {text}");
        }
        assert!(!text.contains("FLOPs") && !text.contains("of the device"), "{text}");
    }

    #[test]
    fn sums_are_told_with_their_rates() {
        let text = render(&report(serde_json::json!({
            "bench": "allreduce", "world": 2, "threads": 1, "device": "cuda:0", "device_name": null, "steps": 5,
            "warmup": 1, "mib": 25, "gb_per_s": 0.5, "bus_gb_per_s": 0.25, "step_s": 0.05,
            "quantiles": {"p10": 0.05, "p50": 0.05, "p90": 0.05, "p99": 0.05}, "split": null, "loss": null,
            "peak_rss_mib": [100.0, 100.0], "device_memory_mib": [25.0, 25.0]
        })));
        assert!(text.starts_with("allreduce of 25 MiB: 2 ranks, 1 thread each, cuda:0; 5 steps\n"), "{text}");
        assert!(text.contains("0.50") && text.contains("of the device"), "{text}");
    }
}
