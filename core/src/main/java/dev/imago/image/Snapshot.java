package dev.imago.image;

import java.time.Instant;

/**
 * A state of a disk that is kept inside its image.
 *
 * @param id unique in its image; decimal digits as a rule
 * @param name not unique
 * @param date when it was made
 * @param vmStateSize bytes of saved machine state, unsigned; 0 if none was saved
 * @param vmClock guest run time in nanoseconds, unsigned
 * @param instructionCount instructions run so far, or -1 if that was not counted
 * @param diskSize bytes of the disk at that time
 */
public record Snapshot(
    String id,
    String name,
    Instant date,
    long vmStateSize,
    long vmClock,
    long instructionCount,
    long diskSize) {}
