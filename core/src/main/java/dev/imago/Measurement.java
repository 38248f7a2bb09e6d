package dev.imago;

import java.util.OptionalLong;

/**
 * How much room an image takes that is not there yet. The numbers are those of QEMU.
 *
 * <p>They are what the image's parts take together. A qcow2 file gets longer than that, by less
 * than the length of its refcount table, if that table outgrows its first cluster while it is
 * filled: above 16 TiB with the usual clusters, but above some megabytes with the smallest ones.
 *
 * @param required bytes of the file, and of its data file, if it is filled from the source: all
 *     tables, and every cluster in which the source holds data. A copy of data that is partly
 *     zeroes, or gets compressed, is smaller. For an empty image, bytes if all its tables are there
 * @param fullyAllocated bytes if every guest byte has been written
 * @param bitmaps bytes more for copies of the source's dirty bitmaps, and as many again while they
 *     are made; empty if the source or the new image cannot hold any
 */
public record Measurement(long required, long fullyAllocated, OptionalLong bitmaps) {}
