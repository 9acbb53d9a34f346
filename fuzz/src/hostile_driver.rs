//! A driver that follows no rules, of a device without its transport. Queues are started and stopped as the
//! transport would; everything in RAM is the script's.
//!
//! A queue serves what is available when it starts and drains before it stops, so a script that does no more
//! than start and stop has the same effect each time; kicks in between race with the worker.
//!
//! Always: a stopped queue says where it stands, and each chain taken was completed or put back.

use std::sync::Arc;
use std::time::Duration;

use device_harness::RecordingInterrupt;
use device_model::EventFd;
use guest_memory::GuestMemory;
use host_sys::poll::new_event;
use virtio_core::{Queue, QueueResources, QueueState, VirtioDevice};

use crate::hostile_ring::{self, HostileRing};
use crate::{Script, ram};

/// Starts a queue unless it runs.
pub const START: u8 = hostile_ring::COUNT;
/// Stops a queue; starts it first if it does not run.
pub const STOP: u8 = START + 1;
/// Kicks a queue.
pub const KICK: u8 = START + 2;
/// Gives a running worker a little time.
pub const WAIT: u8 = START + 3;
/// Places a stopped queue's ring anew.
pub const PLACE: u8 = START + 4;
/// Reads configuration space.
pub const CONFIG_READ: u8 = START + 5;
/// Writes configuration space.
pub const CONFIG_WRITE: u8 = START + 6;
/// Resets the device.
pub const RESET: u8 = START + 7;
/// Saves the device's state and restores it, changed perhaps.
pub const RESTORE: u8 = START + 8;
/// How many operations there are.
pub const COUNT: u8 = START + 9;

/// How often a worker is looked at before it has had its chance, and how long in between.
const LOOKS: u32 = 8;
const BETWEEN_LOOKS: Duration = Duration::from_micros(50);

struct Lane {
    ring: HostileRing,
    kick: EventFd,
    interrupt: Arc<RecordingInterrupt>,
    state: QueueState,
    running: bool,
}

/// See the module.
pub struct HostileDriver {
    memory: GuestMemory,
    device: Box<dyn VirtioDevice>,
    features: u64,
    lanes: Vec<Lane>,
}

impl HostileDriver {
    /// Drives `device` with `features`, whatever it offers.
    pub fn new(device: Box<dyn VirtioDevice>, features: u64) -> HostileDriver {
        let lane = |index| Lane {
            ring: HostileRing::decent(index),
            kick: new_event().expect("an event descriptor"),
            interrupt: Arc::default(),
            state: QueueState::default(),
            running: false,
        };
        let lanes = (0..device.queue_sizes().len() as u16).map(lane).collect();
        HostileDriver { memory: ram::allocate(), device, features, lanes }
    }

    /// RAM.
    pub fn memory(&self) -> &GuestMemory {
        &self.memory
    }

    /// Does operation `operation` of those above or of the ring's.
    pub fn act(&mut self, operation: u8, script: &mut Script<'_>) {
        let index = match operation {
            0..=PLACE => usize::from(script.u8()) % self.lanes.len(),
            _ => 0,
        };
        match operation {
            0..START => self.lanes[index].ring.act(operation, &self.memory, script),
            START => self.start(index),
            STOP => {
                self.start(index);
                self.stop(index);
            }
            KICK => self.lanes[index].kick.write(1).expect("the counter is nowhere near its end"),
            WAIT => self.wait(index),
            PLACE if !self.lanes[index].running => self.lanes[index].ring = HostileRing::placed(script),
            PLACE => {}
            CONFIG_READ => {
                let (offset, len) = (script.u16(), usize::from(script.u8() % 8) + 1);
                self.device.read_config(offset.into(), &mut [0; 8][..len]);
            }
            CONFIG_WRITE => {
                let (offset, len) = (script.u16(), usize::from(script.u8() % 8) + 1);
                let data = script.u64().to_le_bytes();
                self.device.write_config(offset.into(), &data[..len]);
            }
            RESET => self.reset(),
            _ => self.restore(script),
        }
    }

    fn start(&mut self, index: usize) {
        let lane = &mut self.lanes[index];
        if lane.running {
            return;
        }
        lane.interrupt = Arc::default();
        let max_size = self.device.queue_sizes()[index];
        let (layout, memory) = (lane.ring.layout, self.memory.clone());
        let queue = Queue::new(layout, max_size, lane.state, self.features, memory, lane.interrupt.clone());
        let Ok(queue) = queue else { return };
        let kick = lane.kick.try_clone().expect("an event descriptor");
        let started = self.device.start_queue(index as u16, QueueResources { queue, kick }, self.features);
        lane.running = started.is_ok();
    }

    fn stop(&mut self, index: usize) {
        let lane = &mut self.lanes[index];
        if lane.running {
            let state = self.device.stop_queue(index as u16).expect("the worker lives");
            let open = |state: QueueState| state.next_avail.wrapping_sub(state.next_used);
            let balanced = open(state) == open(lane.state) || lane.interrupt.is_broken();
            assert!(balanced, "what a device takes it completes or puts back");
            (lane.state, lane.running) = (state, false);
        }
    }

    fn stop_all(&mut self) {
        (0..self.lanes.len()).for_each(|index| self.stop(index));
    }

    fn wait(&self, index: usize) {
        let lane = &self.lanes[index];
        let before = lane.interrupt.used();
        let mut looks = 0;
        while lane.running && lane.interrupt.used() == before && looks < LOOKS {
            std::thread::sleep(BETWEEN_LOOKS);
            looks += 1;
        }
    }

    fn reset(&mut self) {
        self.stop_all();
        self.device.reset();
        for lane in &mut self.lanes {
            lane.state = QueueState::default();
            lane.ring.restart();
        }
    }

    fn restore(&mut self, script: &mut Script<'_>) {
        self.stop_all();
        let Some(mut bytes) = self.device.save_bytes().expect("a stopped device can be saved") else {
            return;
        };
        self.device.restore_bytes(&bytes).expect("what was saved can be restored");
        for _ in 0..script.u8() % 4 {
            let at = usize::from(script.u8()) % bytes.len();
            bytes[at] = script.u8();
        }
        // Refused, or taken over: either is fine as long as the device works on.
        let _ = self.device.restore_bytes(&bytes);
    }
}

impl Drop for HostileDriver {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.stop_all();
        }
    }
}
