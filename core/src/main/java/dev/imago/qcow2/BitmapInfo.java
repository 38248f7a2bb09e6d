package dev.imago.qcow2;

/**
 * A dirty bitmap of an open image.
 *
 * @param name unique in its image
 * @param granularity bytes of the disk that a bit speaks of, a power of two
 * @param enabled whether every change of guest bytes is noted in it
 * @param inconsistent whether its bits cannot be relied on: a writer did not close the image, or
 *     wrote things there that are not known here. It can be removed, and nothing else
 */
public record BitmapInfo(String name, long granularity, boolean enabled, boolean inconsistent) {}
