/**
 * Whole processes side by side: Imago's command line and QEMU's tools. Run by {@code bench/run}.
 */
@NullMarked
package dev.imago.bench;

import org.jspecify.annotations.NullMarked;
