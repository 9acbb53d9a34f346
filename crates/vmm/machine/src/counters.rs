//! What devices have done, for whoever looks.

use std::collections::BTreeMap;
use std::sync::Arc;

use chipset::PanicCounters;
use virtio_block::BlockCounters;
use virtio_net::NetCounters;

/// Handles on the counters of a machine's devices.
#[derive(Default)]
pub(crate) struct Counters {
    blocks: Vec<(String, Arc<BlockCounters>)>,
    nets: Vec<(String, Arc<NetCounters>)>,
    panics: Option<Arc<PanicCounters>>,
}

/// Counters of all devices at one moment: device, then figure.
pub type DeviceCounters = BTreeMap<String, BTreeMap<&'static str, u64>>;

impl Counters {
    pub(crate) fn add_block(&mut self, id: String, counters: Arc<BlockCounters>) {
        self.blocks.push((id, counters));
    }

    pub(crate) fn add_net(&mut self, id: String, counters: Arc<NetCounters>) {
        self.nets.push((id, counters));
    }

    pub(crate) fn held(&self) -> u64 {
        self.blocks.iter().map(|(_, counters)| counters.read().held).sum()
    }

    pub(crate) fn with_panics(self, panics: Arc<PanicCounters>) -> Counters {
        Counters { panics: Some(panics), ..self }
    }

    pub(crate) fn read(&self) -> DeviceCounters {
        let blocks = self.blocks.iter().map(|(id, counters)| {
            let counts = counters.read();
            let figures = [
                ("reads", counts.reads),
                ("writes", counts.writes),
                ("flushes", counts.flushes),
                ("discards", counts.discards),
                ("write_zeroes", counts.write_zeroes),
                ("read_bytes", counts.read_bytes),
                ("written_bytes", counts.written_bytes),
                ("refused", counts.refused),
                ("failed", counts.failed),
                ("held", counts.held),
            ];
            (id.clone(), BTreeMap::from(figures))
        });
        let nets = self.nets.iter().map(|(id, counters)| {
            let totals = counters.totals();
            let figures = [
                ("received_packets", totals.received_packets),
                ("received_bytes", totals.received_bytes),
                ("received_dropped", totals.received_dropped),
                ("sent_packets", totals.sent_packets),
                ("sent_bytes", totals.sent_bytes),
                ("sent_dropped", totals.sent_dropped),
            ];
            (id.clone(), BTreeMap::from(figures))
        });
        let panics = self.panics.iter().map(|counters| {
            let [panicked, crash_loaded, shutting_down] = counters.read();
            let figures =
                [("panicked", panicked), ("crash_loaded", crash_loaded), ("shutting_down", shutting_down)];
            ("pvpanic".to_owned(), BTreeMap::from(figures))
        });
        blocks.chain(nets).chain(panics).collect()
    }
}
