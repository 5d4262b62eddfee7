//! The instruction in plain Rust, on 16 bytes: slow, and what it means.

use super::{Unit, all, each, one};
use crate::vector::kernels::Kernels;

#[derive(Clone, Copy)]
pub struct Model;

/// The units' shared text on the model.
pub const MODEL: Kernels =
    Kernels { name: "vnni-model", dot: model_dot, matrix: model_matrix, each: model_each };

fn model_dot(a: &[i8], b: &[i8]) -> i32 {
    // SAFETY: the model needs nothing of the CPU.
    unsafe { one::<Model>(a, b) }
}

fn model_matrix(rows: &[i8], dim: usize, queries: &[&[i8]], out: &mut [i32]) {
    // SAFETY: the model needs nothing of the CPU.
    unsafe { all::<Model>(rows, dim, queries, out) }
}

fn model_each(vector: &[i8], others: &[&[i8]], out: &mut [i32]) {
    // SAFETY: the model needs nothing of the CPU.
    unsafe { each::<Model>(vector, others, out) }
}

impl Unit for Model {
    type Register = [u8; 16];
    const BYTES: usize = 16;

    unsafe fn zero() -> [u8; 16] {
        [0; 16]
    }

    unsafe fn load(from: *const i8) -> [u8; 16] {
        // SAFETY: the caller promises 16 readable bytes.
        unsafe { from.cast::<[u8; 16]>().read_unaligned() }
    }

    unsafe fn load_first(from: *const i8, n: usize) -> [u8; 16] {
        // SAFETY: the caller promises `n` readable bytes.
        std::array::from_fn(|i| if i < n { unsafe { *from.add(i) as u8 } } else { 0 })
    }

    unsafe fn flip(signed: [u8; 16]) -> [u8; 16] {
        signed.map(|byte| byte ^ 0x80)
    }

    unsafe fn add_products(sums: [u8; 16], unsigned: [u8; 16], signed: [u8; 16]) -> [u8; 16] {
        let mut after = [0; 16];
        for lane in 0..4 {
            let bytes = 4 * lane..4 * lane + 4;
            let mut sum = lanes(sums)[lane];
            for (u, s) in unsigned[bytes.clone()].iter().zip(&signed[bytes.clone()]) {
                sum = sum.wrapping_add(i32::from(*u) * i32::from(*s as i8));
            }
            after[bytes].copy_from_slice(&sum.to_le_bytes());
        }
        after
    }

    unsafe fn across(sums: [[u8; 16]; 4]) -> [i32; 4] {
        sums.map(|sums| lanes(sums).into_iter().fold(0, i32::wrapping_add))
    }
}

fn lanes(register: [u8; 16]) -> [i32; 4] {
    std::array::from_fn(|lane| {
        let at = 4 * lane;
        i32::from_le_bytes([register[at], register[at + 1], register[at + 2], register[at + 3]])
    })
}
