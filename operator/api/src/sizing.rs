//! Decides how an object is cut into parts and how much memory that takes; the runner uploads by it, and the operator sets a
//! Job's memory limit by it. Pure.
//!
//! Part size: the expected bytes cut into at most 8,000 parts, rounded up to whole MiB, at least 16 MiB. S3 takes 10,000 parts;
//! the other 2,000 are for a database that grew, or that does not compress. 16 MiB serve up to 125 GiB as planned and
//! 156 GiB at most; 5 TiB, the longest object that S3 takes, need 656 MiB.
//!
//! Memory of the runner: [`BASE`] + streams × (part size × [`buffers_for`] + the compressor's own). What is expected is an upper
//! bound: less may come, in smaller parts, of which one more is held, so above 128 MiB a part the formula takes 384 MiB at least.

const MIB: u64 = 1 << 20;

/// Smallest part that S3 takes, but for the last, in bytes.
pub const MIN_PART_SIZE: u64 = 5 * MIB;
/// Most parts that S3 takes in one upload.
pub const MAX_PARTS: u32 = 10_000;
/// Smallest part that uploads are planned with, in bytes.
pub const DEFAULT_PART_SIZE: u64 = 16 * MIB;
/// Parts that a stream of the expected size is cut into at most.
const PLANNED_PARTS: u64 = 8_000;
/// Above this part size, in bytes, one part fewer is held: at 5 TiB each takes 656 MiB.
const LARGE_PART: u64 = 128 * MIB;
/// Memory that the runner takes without any stream: the program, TLS, the client of the bucket, and buffers of smaller objects
/// before this one, which the allocator keeps (only those above 32 MiB go back to the system at once). In bytes.
pub const BASE: u64 = 96 * MIB;

/// Size in bytes of the parts of an object of which so many bytes are expected; up to 5 TiB.
pub const fn part_size_for(expected_bytes: u64) -> u64 {
    let needed = expected_bytes.div_ceil(PLANNED_PARTS).next_multiple_of(MIB);
    if needed > DEFAULT_PART_SIZE { needed } else { DEFAULT_PART_SIZE }
}

/// How many parts of a size are in memory at once: one that is being filled, the others on their way.
pub const fn buffers_for(part_size: u64) -> usize {
    if part_size > LARGE_PART { 2 } else { 3 }
}

/// Most memory in bytes that the runner takes for so many streams at once, each of the expected bytes or fewer, at a zstd level.
/// Programs that it starts, `pg_dump` above all, take theirs beside it.
pub const fn memory_for(expected_bytes: u64, streams: u8, compression_level: u8) -> u64 {
    let stream = held_at_most(part_size_for(expected_bytes)) + compressor(compression_level);
    BASE + streams as u64 * stream
}

/// Bytes of all buffers of a stream whose parts have this size or a smaller one.
const fn held_at_most(part_size: u64) -> u64 {
    let held = part_size * buffers_for(part_size) as u64;
    let smaller = LARGE_PART * buffers_for(LARGE_PART) as u64;
    if part_size > LARGE_PART && held < smaller { smaller } else { held }
}

/// What one zstd encoder takes at most at a level, in bytes: what the library estimates itself (`ZSTD_estimateCStreamSize`:
/// 3.5 MiB at level 3, 8.7 at 8, 52.7 at 14, 89.5 at 19), rounded up.
const fn compressor(level: u8) -> u64 {
    match level {
        0..=3 => 8 * MIB,
        4..=8 => 16 * MIB,
        9..=14 => 64 * MIB,
        _ => 128 * MIB,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;
    const TIB: u64 = 1 << 40;

    #[test]
    fn part_sizes_fit_what_s3_takes() {
        for (expected, part_size) in [
            (0, 16 * MIB),
            (100 * GIB, 16 * MIB),
            (125 * GIB, 16 * MIB),
            (126 * GIB, 17 * MIB),
            (TIB, 132 * MIB),
            (5 * TIB, 656 * MIB),
        ] {
            assert_eq!(part_size_for(expected), part_size, "{expected}");
            assert!(expected.div_ceil(part_size) <= PLANNED_PARTS, "{expected}");
            assert!(part_size <= 5 * GIB, "{expected}");
        }
    }

    #[test]
    fn memory_is_as_documented() {
        assert_eq!(memory_for(0, 1, 1), (96 + 48 + 8) * MIB);
        assert_eq!(memory_for(100 * GIB, 1, 1), memory_for(0, 1, 1), "no growth");
        assert_eq!(memory_for(0, 4, 3), (96 + 4 * 56) * MIB);
        assert_eq!(memory_for(5 * TIB, 1, 1), (96 + 2 * 656 + 8) * MIB);
        assert_eq!(memory_for(0, 1, 19), (96 + 48 + 128) * MIB);
    }

    #[test]
    fn a_limit_for_more_bytes_is_enough_for_fewer() {
        for expected in (0..5 * 1024).map(|gib| gib * GIB) {
            let (less, more) = (memory_for(expected, 1, 1), memory_for(expected + GIB, 1, 1));
            assert!(less <= more, "{expected}: {less} > {more}");
            let part_size = part_size_for(expected);
            assert!(less >= BASE + part_size * buffers_for(part_size) as u64, "{expected}");
        }
    }
}
