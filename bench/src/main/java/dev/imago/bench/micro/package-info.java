/**
 * What an operation costs inside a warm JVM. Run by {@code bench/run --jmh}.
 *
 * <p>Unmarked, because JMH fills the fields after the constructor.
 */
@NullUnmarked
package dev.imago.bench.micro;

import org.jspecify.annotations.NullUnmarked;
