/** The door: open, probe, inspect, create and convert images of every format. */
@NullMarked
package dev.imago;

import org.jspecify.annotations.NullMarked;
