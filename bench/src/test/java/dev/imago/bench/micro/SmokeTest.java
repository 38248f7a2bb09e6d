package dev.imago.bench.micro;

import static org.assertj.core.api.Assertions.assertThat;

import org.junit.jupiter.api.Test;
import org.openjdk.jmh.runner.Runner;
import org.openjdk.jmh.runner.options.OptionsBuilder;
import org.openjdk.jmh.runner.options.TimeValue;
import org.openjdk.jmh.runner.options.VerboseMode;

/** Every benchmark still does what it says, once; nothing is measured. */
class SmokeTest {
  @Test
  void everyBenchmarkRunsOnce() throws Exception {
    var options =
        new OptionsBuilder()
            .include("dev.imago.bench.micro")
            .forks(0)
            .warmupIterations(0)
            .measurementIterations(1)
            .measurementTime(TimeValue.milliseconds(1))
            .param("megabytes", "4")
            .shouldFailOnError(true)
            .verbosity(VerboseMode.SILENT)
            .build();

    assertThat(new Runner(options).run()).hasSize(6);
  }
}
