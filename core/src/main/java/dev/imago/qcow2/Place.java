package dev.imago.qcow2;

import org.jspecify.annotations.Nullable;

/**
 * Where the guest clusters of one allocation go: host clusters that follow one another.
 *
 * @param hostOffset of the first
 * @param clusters how many
 * @param taken what was taken for it; null if the clusters were reserved for it before
 */
record Place(long hostOffset, long clusters, Allocator.@Nullable Taken taken) {}
